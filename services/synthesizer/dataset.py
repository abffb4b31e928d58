"""The folder that `prepare` wrote, as batches.

By default all utterances take their turns. Where recorded speech is there, too, it may be given a share of its own,
its speakers all the same part of it, however much each has said.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from services.common.audio import FRAME_CHANNELS
from services.common.profile import SpeakerProfile
from services.common.speaker_space import normalise
from services.encoder.model import average
from services.synthesizer.corpus_writer import Utterance
from services.synthesizer.recorded import STYLE as RECORDED
from services.synthesizer.text.symbols import SYMBOL_IDS

HELD_OUT_SHARE: Final = 64  # one sentence in so many is never trained on
POOL_BATCHES: Final = 24  # batches whose utterances are sorted by length together
RECORDED_SHARES: Final = (0.15, 0.6)  # of the utterances, at the beginning and at the end of training
RECORDED_RISE: Final = (0.4, 0.8)  # of the budget: from where to where the one turns into the other


@dataclass(frozen=True)
class Batch:
    """Padded utterances: B of them, L symbols, T frames (a multiple of the reduction)."""

    symbols: Tensor  # (B, L) int64, 0 is padding
    edges: Tensor  # (B, L) int64
    lengths: Tensor  # (B,) symbols
    durations: Tensor  # (B, L) frames
    style: Tensor  # (B,) int64
    speaker: Tensor  # (B, 256)
    frames: Tensor  # (B, T, 82) normalised
    frame_mask: Tensor  # (B, T, 1)

    def to(self, device: torch.device) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})


def is_held_out(text: str) -> bool:
    """Whether a sentence is kept for validation, whoever says it."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % HELD_OUT_SHARE == 0


def recorded_share(progress: float) -> float:
    """How much of training should be recorded speech when so much of the budget (0 to 1) is used: more of it late."""
    return float(np.interp(progress, RECORDED_RISE, RECORDED_SHARES))


def voices_in(folder: Path) -> set[str]:
    """Whose utterances a folder that prepare wrote holds: flite's voices, and `recorded`."""
    lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["voice"] for line in lines}


class Corpus:
    """Utterances with their frames, which stay on disk until asked for; those of other than `styles` are left out."""

    def __init__(self, folder: Path, styles: Sequence[str], reduction: int) -> None:
        lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
        utterances = [u for u in (Utterance(**json.loads(line)) for line in lines) if u.voice in styles]
        speakers = json.loads((folder / "speakers.json").read_text(encoding="utf-8"))
        self.profiles = {name: SpeakerProfile.from_json(json.dumps(fields)) for name, fields in speakers.items()}
        self.training = [u for u in utterances if not is_held_out(u.text)]
        self.validation = [u for u in utterances if is_held_out(u.text)]
        self._styles = {name: index for index, name in enumerate(styles)}
        self._reduction = reduction
        self._frames = np.memmap(folder / "frames.f16", np.float16, "r").reshape(-1, FRAME_CHANNELS)

    def style_profile(self, style: str) -> SpeakerProfile:
        """Of the voice that a style was learned from; of recorded speech, of its average speaker."""
        name = f"{style}@1.00"
        if name in self.profiles:
            return self.profiles[name]
        speakers = sorted({u.speaker for u in (*self.training, *self.validation) if u.voice == style})
        fields = [
            {f: getattr(self.profiles[s], f) for f in ("log_f0_median", "log_f0_spread", "mel_mean", "mel_spread")}
            for s in speakers
        ]
        return SpeakerProfile(
            embedding=average(np.stack([self.profiles[s].embedding for s in speakers])),
            **{name: np.mean([item[name] for item in fields], axis=0) for name in fields[0]},
        )

    def collate(self, utterances: Sequence[Utterance]) -> Batch:
        """One padded batch."""
        symbol_count = max(len(u.symbols) for u in utterances)
        frame_count = -(-max(u.frame_count for u in utterances) // self._reduction) * self._reduction
        size = len(utterances)
        symbols = np.zeros((size, symbol_count), np.int64)
        edges = np.zeros((size, symbol_count), np.int64)
        durations = np.zeros((size, symbol_count), np.float32)
        frames = np.zeros((size, frame_count, FRAME_CHANNELS), np.float32)
        mask = np.zeros((size, frame_count, 1), np.float32)
        speakers = np.stack([self.profiles[u.speaker].embedding for u in utterances])
        for i, u in enumerate(utterances):
            symbols[i, : len(u.symbols)] = [SYMBOL_IDS[symbol] for symbol in u.symbols]
            edges[i, : len(u.symbols)] = u.word_edges
            durations[i, : len(u.symbols)] = u.durations
            spoken = np.asarray(self._frames[u.first_frame : u.first_frame + u.frame_count], np.float32)
            frames[i, : u.frame_count] = normalise(spoken, self.profiles[u.speaker])
            mask[i, : u.frame_count] = 1.0
        return Batch(
            symbols=torch.from_numpy(symbols),
            edges=torch.from_numpy(edges),
            lengths=torch.tensor([len(u.symbols) for u in utterances]),
            durations=torch.from_numpy(durations),
            style=torch.tensor([self._styles[u.voice] for u in utterances]),
            speaker=torch.from_numpy(speakers),
            frames=torch.from_numpy(frames),
            frame_mask=torch.from_numpy(mask),
        )

    def batches(self, frames_per_batch: int, seed: int, share: Callable[[], float] | None = None) -> Iterator[Batch]:
        """Endless training batches of like lengths, about so many frames each (padding included).

        Args:
            share: asked for now and then: which part of the utterances is to be recorded speech. None: what part of
                the corpus it is.
        """
        rng = np.random.default_rng(seed)
        mean_frames = np.mean([u.frame_count for u in self.training])
        pool_size = max(int(POOL_BATCHES * frames_per_batch / mean_frames), 1)
        pools = self._pools(pool_size, rng) if share is None else self._mixed_pools(pool_size, rng, share)
        for drawn in pools:
            pool = sorted(drawn, key=lambda u: u.frame_count)
            groups: list[list[Utterance]] = [[]]
            for u in pool:
                if groups[-1] and (len(groups[-1]) + 1) * u.frame_count > frames_per_batch:
                    groups.append([])
                groups[-1].append(u)
            for i in rng.permutation(len(groups)):
                yield self.collate(groups[i])

    def _pools(self, size: int, rng: np.random.Generator) -> Iterator[list[Utterance]]:
        while True:
            order = rng.permutation(len(self.training))
            for start in range(0, len(order), size):
                yield [self.training[i] for i in order[start : start + size]]

    def _mixed_pools(
        self, size: int, rng: np.random.Generator, share: Callable[[], float]
    ) -> Iterator[list[Utterance]]:
        recorded = speaker_turns([u for u in self.training if u.voice == RECORDED], rng)
        generated = _turns([u for u in self.training if u.voice != RECORDED], rng)
        while True:
            count = round(size * share())
            yield [*islice(recorded, count), *islice(generated, size - count)]


def speaker_turns(utterances: Sequence[Utterance], rng: np.random.Generator) -> Iterator[Utterance]:
    """Endless utterances in which all speakers have equal parts; ends at once where there are none."""
    by_speaker: dict[str, list[Utterance]] = {}
    for u in utterances:
        by_speaker.setdefault(u.speaker, []).append(u)
    turns = [_turns(of_speaker, rng) for of_speaker in by_speaker.values()]
    while turns:
        for i in rng.permutation(len(turns)):
            yield next(turns[i])


def _turns(utterances: Sequence[Utterance], rng: np.random.Generator) -> Iterator[Utterance]:
    """All utterances again and again, in another order each time."""
    while utterances:
        for i in rng.permutation(len(utterances)):
            yield utterances[i]
