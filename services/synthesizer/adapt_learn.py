"""What an adaptation learns, and from what: offsets of the classes of sounds, from two teachers.

The recordings say how the person makes the sounds of each transcript, frame by frame (`adapt_pairs`). Alone they would
average what differs from one time to the next and blur the speech. The speaker encoder says how like the person whole
sentences sound (`adapt_hear`); alone it could be pleased by what is not the person's. Deviation from the voice as
it was is charged, so that words stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from services.common.audio import FloatArray
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, shape_basis
from services.synthesizer.adapt_hear import Heard, moved
from services.synthesizer.adapt_pairs import Pairs

STEPS: Final = 60
STEPS_PER_ROUND: Final = 20  # then the speech is rendered again, and the best round so far is kept
SENTENCES_PER_STEP: Final = 4
LEARNING_RATE: Final = 0.02  # falls to zero
PARALLEL_WEIGHT: Final = 1.0  # of the share of the recordings' residuals that is left, against a cosine
RESTRAINT: Final = 1.0  # of offsets that differ between the classes, in the same unit
EVEN_RESTRAINT: Final = 0.02  # of what all classes have in common, an equaliser


@dataclass(frozen=True)
class Progress:
    """After so many steps: cosine of sentences that were not learned from to recordings that were not either.

    `similarity` is what the judge said, which may be a refusal.
    """

    steps: int
    similarity: float


class ParallelLoss:
    """Quadratic in the offsets (48, 20): what is left of the residuals, and the charge for deviating."""

    def __init__(self, pairs: Sequence[Pairs]) -> None:
        shares = np.concatenate([item.shares for item in pairs]).astype(np.float64)
        residuals = np.concatenate([item.residuals for item in pairs]).astype(np.float64)
        count = len(shares)
        self._power = float((residuals**2).sum() / count)
        self._together = _tensor(shares.T @ shares / count)
        self._wanted = _tensor(shares.T @ residuals / count)
        self._mean = _tensor(shares.mean(axis=0))

    def left(self, offsets: Tensor) -> Tensor:
        """Share of the residuals' power that is left."""
        return 1.0 + (self._moved(offsets) - 2.0 * (offsets * self._wanted).sum()) / self._power

    def charge(self, offsets: Tensor) -> Tensor:
        """For deviating from the voice as it was."""
        even = ((self._mean @ offsets) ** 2).sum()
        return (RESTRAINT * (self._moved(offsets) - even) + EVEN_RESTRAINT * even) / self._power

    def _moved(self, offsets: Tensor) -> Tensor:
        return (offsets * (self._together @ offsets)).sum()


def learn(
    loss: ParallelLoss,
    target: FloatArray,
    unit: FloatArray,
    network: Callable[[Tensor], Tensor],
    render: Callable[[FloatArray], list[Heard]],
    judge: Callable[[FloatArray], float],
    *,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> tuple[FloatArray, tuple[Progress, ...]]:
    """The offsets (48, 20) of the round that `judge` likes best, zeros when that is none, and how it went.

    Args:
        target: the person's embedding (256,).
        unit: of the offsets, per band (80,), in nepers.
        network: the speaker encoder.
        render: what the encoder hears of the sentences with such offsets.
        judge: how like the person sentences with such offsets are that `render` does not use.
    """
    offsets = torch.zeros((SOUND_COUNT, SHAPE_SIZE), requires_grad=True)
    optimiser = torch.optim.Adam([offsets], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, STEPS)
    generator = np.random.default_rng(seed)
    person = _tensor(target)
    bands = _tensor(shape_basis() * unit)
    best = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    went = [Progress(0, judge(best))]
    report(went[0])
    for step in range(STEPS):
        if step % STEPS_PER_ROUND == 0:
            rendered = offsets.detach().clone()
            sentences = render(rendered.numpy())
        chosen = generator.choice(len(sentences), min(SENTENCES_PER_STEP, len(sentences)), replace=False)
        heard = [sentences[number] for number in chosen]
        change = (offsets - rendered) @ bands
        embeddings = network(torch.cat([moved(sentence, change) for sentence in heard]))
        parts = torch.split(embeddings, [len(sentence.windows) for sentence in heard])
        means = torch.nn.functional.normalize(torch.stack([part.mean(dim=0) for part in parts]), dim=1)
        cost = PARALLEL_WEIGHT * loss.left(offsets) + loss.charge(offsets) - (means @ person).mean()
        optimiser.zero_grad()
        torch.autograd.backward(cost)
        optimiser.step()
        schedule.step()
        if (step + 1) % STEPS_PER_ROUND == 0:
            found = offsets.detach().numpy().copy()
            went.append(Progress(step + 1, judge(found)))
            report(went[-1])
            if went[-1].similarity > max(earlier.similarity for earlier in went[:-1]):
                best = found
    return best, tuple(went)


def _tensor(array: FloatArray | np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))
