"""What a voice can be changed by at its calibration, and the search for the change that sounds most like the person.

A recording's averages say how its bands lie over all that was said in it; they cannot say how the same sentence would
have come from that person. So a smooth correction of the spectrum's mean is searched, an equaliser of ten half waves
over the mel axis. Each proposal is spoken and heard by the speaker encoder. Different sentences are spoken in turn, so
that what is found belongs to the voice and not to a sentence.

Nothing else is searched on purpose: with the spread of the bands and a bent formant scale the encoder was pleased even
more, and half of the words could not be recognised any more (docs/adr/0007-voice-search.md).

Search: separable CMA-ES (Ros and Hansen 2008), a handful of proposals per round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from cmaes import SepCMA
from numpy.typing import NDArray

from services.common.audio import MEL_BINS, FloatArray
from services.common.profile import SpeakerProfile

F64 = NDArray[np.float64]

SIZE: Final = 10  # cosines over the mel axis
UNIT: Final = 0.25  # nepers of a cosine's amplitude per unit of the search
FIRST_STEP: Final = 0.6  # standard deviation of the first proposals, in units of the search
REACH: Final = 4.0  # units from the start; nothing beyond is proposed
RELUCTANCE: Final = 0.01  # what a mean square of one unit costs, in cosine
PROPOSALS: Final = 12  # per round

Judge = Callable[[SpeakerProfile, int], float]  # profile, round -> similarity


@dataclass(frozen=True, eq=False)
class Found:
    """The corrected profile, the correction (10,) in units of the search, and how many proposals were heard."""

    profile: SpeakerProfile
    correction: F64
    heard: int


def corrected(profile: SpeakerProfile, correction: Sequence[float] | F64) -> SpeakerProfile:
    """The profile with a correction (10,) of the bands' mean; zeros leave it as it is."""
    values = np.asarray(correction, np.float64)
    if values.shape != (SIZE,):
        raise ValueError(f"expected {SIZE} numbers, got shape {values.shape}")
    return replace(profile, mel_mean=profile.mel_mean + _waves(UNIT * values))


def _waves(amplitudes: F64) -> FloatArray:
    """Sum of cosines of 1, 2, ... half waves over the mel axis, shape (80,); their mean is 0."""
    bands = (np.arange(MEL_BINS) + 0.5) * np.pi / MEL_BINS
    orders = np.arange(1, len(amplitudes) + 1)
    total: FloatArray = (amplitudes @ np.cos(orders[:, None] * bands)).astype(np.float32)
    return total


def search(
    profile: SpeakerProfile,
    judge: Judge,
    *,
    rounds: int,
    seed: int,
    run_all: Callable[[Callable[[F64], float], list[F64]], list[float]],
    may_go_on: Callable[[], bool] = lambda: True,
) -> Found:
    """Searches the correction that `judge` likes best, over so many rounds, or until `may_go_on` says no.

    Args:
        judge: tells how like the person a profile sounds; the round says which sentence is to be spoken.
        run_all: maps a function over the proposals of a round, side by side where that is faster.
    """
    bounds = np.tile([-REACH, REACH], (SIZE, 1))
    optimiser = SepCMA(np.zeros(SIZE), FIRST_STEP, bounds=bounds, seed=seed, population_size=PROPOSALS)
    heard = 0
    for number in range(rounds):
        if not may_go_on():
            break
        proposals = [optimiser.ask() for _ in range(PROPOSALS)]

        def loss(proposal: F64, number: int = number) -> float:
            return RELUCTANCE * float(np.mean(proposal**2)) - judge(corrected(profile, proposal), number)

        losses = run_all(loss, proposals)
        optimiser.tell(list(zip(proposals, losses, strict=True)))
        heard += len(proposals)
    correction = np.clip(np.asarray(optimiser.mean, np.float64), -REACH, REACH) if heard else np.zeros(SIZE)
    return Found(corrected(profile, correction), correction, heard)
