"""Random training segments of a prepared corpus, as the arrays that the network reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, MEL_BINS
from services.vocoder.conditioning import between_centres, log_levels, normalise_frames
from services.vocoder.config import STEPS_PER_FRAME, WaveNetConfig
from services.vocoder.pqmf import BANDS, HALF_TAPS, analyse_inside
from services.vocoder.prepare import Corpus

F32 = NDArray[np.float32]

HALF_HOP: Final = HOP_SAMPLES // 2


@dataclass(frozen=True)
class Batch:
    """Segments between frame centres; shapes as `WaveNet.forward` takes them, and target [B, T, 4]."""

    target: F32
    draft: F32
    frames: F32


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all their segments."""
    return Batch(*(np.concatenate([getattr(batch, field.name) for batch in batches]) for field in fields(Batch)))


@dataclass(frozen=True)
class Augmentation:
    """What is changed about a segment before training sees it."""

    gain_db: float = 6.0  # louder or softer by up to this
    dither: float = 0.5  # of one 16-bit step, so that digital silence has a density

    @classmethod
    def none(cls) -> Augmentation:
        return cls(gain_db=0.0, dither=0.0)


def _cut(array: NDArray[np.int16], first: int, last: int, low: int, high: int) -> F32:
    """array[low:high] as floats, zeros where it leaves [first, last)."""
    inside = np.zeros(high - low, np.float32)
    start, stop = max(low, first), min(high, last)
    inside[start - low : stop - low] = array[start:stop] / np.float32(32768.0)
    return inside


class Sampler:
    """Draws segments of `intervals` frame intervals (12.5 ms each), recordings weighted by their length."""

    def __init__(self, corpus: Corpus, config: WaveNetConfig, intervals: int, augmentation: Augmentation) -> None:
        self.corpus = corpus
        self.config = config
        self.intervals = intervals
        self.augmentation = augmentation
        self.usable = [recording for recording in corpus.recordings if recording.frames > intervals + 1]
        if not self.usable:
            raise ValueError(f"no recording is longer than {intervals} frames")
        lengths = np.array([recording.frames - intervals for recording in self.usable], np.float64)
        self.chances = np.cumsum(lengths / lengths.sum())

    def draw(self, random: np.random.Generator, size: int) -> Batch:
        parts = [self._segment(random) for _ in range(size)]
        return Batch(*(np.stack([part[i] for part in parts]) for i in range(3)))

    def _segment(self, random: np.random.Generator) -> tuple[F32, F32, F32]:
        index = min(int(np.searchsorted(self.chances, random.random())), len(self.usable) - 1)
        recording = self.usable[index]
        start = int(random.integers(recording.frames - self.intervals))  # frame whose centre begins the segment
        gain_db = random.uniform(-1, 1) * self.augmentation.gain_db
        context = self.config.frame_context
        wanted = np.arange(start - context, start + self.intervals + 1 + context)
        rows = recording.first_frame + np.clip(wanted, 0, recording.frames - 1)
        frames = self.corpus.frames[rows].astype(np.float32)
        frames[:, :MEL_BINS] += np.float32(gain_db * np.log(10) / 20)

        first, last = recording.first_frame * HOP_SAMPLES, (recording.first_frame + recording.frames) * HOP_SAMPLES
        low = first + start * HOP_SAMPLES + HALF_HOP
        high = low + self.intervals * HOP_SAMPLES
        gain = np.float32(10 ** (gain_db / 20))
        dither = random.uniform(-1, 1, high - low + 2 * HALF_TAPS).astype(np.float32) / 32768
        samples = _cut(self.corpus.samples, first, last, low - HALF_TAPS, high + HALF_TAPS)
        before, after = self.config.draft_before * BANDS, self.config.draft_after * BANDS
        draft = _cut(self.corpus.draft, first, last, low - HALF_TAPS - before, high + HALF_TAPS + after)

        noisy = samples + np.float32(self.augmentation.dither) * dither
        target = analyse_inside((noisy * gain).astype(np.float32))[: self.intervals * STEPS_PER_FRAME]
        prior = analyse_inside(draft * gain)[: self.intervals * STEPS_PER_FRAME + self.config.draft_width - 1]
        inner = log_levels(frames)[context : len(frames) - context]
        log_level = between_centres(inner)
        held = np.pad(log_level, ((self.config.draft_before, self.config.draft_after), (0, 0)), mode="edge")
        return target * np.exp(-log_level), prior * np.exp(-held), normalise_frames(frames)


def shapes(config: WaveNetConfig, size: int, intervals: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of target, draft and frames in a batch."""
    steps = intervals * STEPS_PER_FRAME
    return (
        (size, steps, BANDS),
        (size, steps + config.draft_width - 1, BANDS),
        (size, intervals + 1 + 2 * config.frame_context, FRAME_CHANNELS),
    )
