"""The folder that `prepare` wrote, as batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from services.common.audio import FRAME_CHANNELS
from services.common.profile import SpeakerProfile
from services.common.speaker_space import normalise
from services.synthesizer.prepare import Utterance
from services.synthesizer.text.symbols import SYMBOL_IDS

HELD_OUT_SHARE: Final = 64  # one sentence in so many is never trained on
POOL_BATCHES: Final = 24  # batches whose utterances are sorted by length together


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


class Corpus:
    """Utterances with their frames, which stay on disk until asked for."""

    def __init__(self, folder: Path, styles: Sequence[str], reduction: int) -> None:
        lines = (folder / "utterances.jsonl").read_text(encoding="utf-8").splitlines()
        utterances = [Utterance(**json.loads(line)) for line in lines]
        speakers = json.loads((folder / "speakers.json").read_text(encoding="utf-8"))
        self.profiles = {name: SpeakerProfile.from_json(json.dumps(fields)) for name, fields in speakers.items()}
        self.training = [u for u in utterances if not is_held_out(u.text)]
        self.validation = [u for u in utterances if is_held_out(u.text)]
        self._styles = {name: index for index, name in enumerate(styles)}
        self._reduction = reduction
        self._frames = np.memmap(folder / "frames.f16", np.float16, "r").reshape(-1, FRAME_CHANNELS)

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

    def batches(self, frames_per_batch: int, seed: int) -> Iterator[Batch]:
        """Endless training batches of like lengths, about so many frames each (padding included)."""
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(len(self.training))
            mean_frames = np.mean([u.frame_count for u in self.training])
            pool_size = max(int(POOL_BATCHES * frames_per_batch / mean_frames), 1)
            for start in range(0, len(order), pool_size):
                pool = sorted((self.training[i] for i in order[start : start + pool_size]), key=lambda u: u.frame_count)
                groups: list[list[Utterance]] = [[]]
                for u in pool:
                    if groups[-1] and (len(groups[-1]) + 1) * u.frame_count > frames_per_batch:
                        groups.append([])
                    groups[-1].append(u)
                for i in rng.permutation(len(groups)):
                    yield self.collate(groups[i])
