"""Adds an audio mark to speech while it streams.

Each 20 ms the gains of 24 bands between 300 and 3,300 Hz are chosen, at most GAIN_DB up or down, so that the levels
have the signs of the pattern (see `audio_levels`). Where the speech has them by itself nothing is changed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.marking.audio_layout import BANDS, CHIP_SAMPLES, FRAMES, WINDOW_SAMPLES, pattern_of
from services.common.marking.audio_levels import BEFORE, against_bands_beside, band_weights, levels_of

GAIN_DB: Final = 2.0  # largest change of a tile's level
TARGET_DB: Final = 4.0  # a tile this far on its side needs no change
HOPELESS_DB: Final = 6.0  # a tile this far on the other side is left alone: no permitted gain would turn it
ROUNDS: Final = 4  # of the search for gains: bands act on each other
STEP: Final = 0.6
BATCH_FRAMES: Final = 256


@lru_cache(maxsize=1)
def _windows() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    phase = 2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
    hann = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    return hann, np.sqrt(hann)


class AudioMarker:
    """Marks one stream of 16 kHz mono speech with a number.

    `write` any number of times, then `finish` once; together they return as many samples as went in, the same whatever
    the pieces. Less than WINDOW_SAMPLES (40 ms) are held back.

    Attributes:
        strength: mean share of the full statistic that the marked tiles reach so far, 0 to 1 (0: nothing to mark yet).

    Raises:
        ValueError: if the key has not 32 bytes or the number not 32 bits.
        LikenessError: MARK_FAILED from write if samples are not finite.
    """

    def __init__(self, key: bytes, number: int) -> None:
        self._pattern = pattern_of(key, number)
        self._frame = 0
        self._waiting = np.zeros(CHIP_SAMPLES, np.float32)  # the first frame is half before the first sample
        self._tail = np.zeros(CHIP_SAMPLES, np.float32)  # of the frames done, not complete yet
        self._before: NDArray[np.float32] | None = None
        self._taken = 0
        self._given = 0

    def write(self, samples: FloatArray) -> FloatArray:
        """Takes samples, shape (n,), and returns those that are ready, possibly none."""
        if not np.isfinite(samples).all():
            raise LikenessError("MARK_FAILED", "samples that are not numbers cannot be marked")
        self._taken += samples.size
        self._waiting = np.concatenate([self._waiting, samples.astype(np.float32, copy=False)])
        out = [self._mark_frames() for _ in range(0, self._waiting.size - CHIP_SAMPLES, BATCH_FRAMES * CHIP_SAMPLES)]
        return self._give(np.concatenate(out) if out else np.zeros(0, np.float32))

    def finish(self) -> FloatArray:
        """The samples that were held back. Nothing can be written afterwards."""
        missing = self._taken - self._given
        self._waiting = np.concatenate([self._waiting, np.zeros(2 * WINDOW_SAMPLES, np.float32)])
        return self._give(self._mark_frames())[:missing]

    def _give(self, ready: FloatArray) -> FloatArray:
        start = CHIP_SAMPLES if self._given == 0 and ready.size and not self._started else 0
        if ready.size:
            self._started = True
        ready = ready[start:]
        self._given += ready.size
        return ready

    _started = False

    def _mark_frames(self) -> FloatArray:
        """Marks up to BATCH_FRAMES frames of what waits; returns the samples that are complete."""
        count = min(BATCH_FRAMES, (self._waiting.size - CHIP_SAMPLES) // CHIP_SAMPLES)
        if count <= 0:
            return np.zeros(0, np.float32)
        hann, root = _windows()
        frames = np.lib.stride_tricks.sliding_window_view(self._waiting, WINDOW_SAMPLES)[::CHIP_SAMPLES][:count]
        levels = levels_of(np.abs(np.fft.rfft(frames * hann)).astype(np.float32) ** 2)
        gains_db = np.stack([self._gains(level) for level in levels])
        spectra = np.fft.rfft(frames * root)
        changed = np.fft.irfft(spectra * (10.0 ** (gains_db @ band_weights().T / 20.0)), WINDOW_SAMPLES) * root
        out = np.zeros((count + 1) * CHIP_SAMPLES, np.float32)
        out[:CHIP_SAMPLES] = self._tail
        out[: count * CHIP_SAMPLES] += changed[:, :CHIP_SAMPLES].reshape(-1)
        out[CHIP_SAMPLES:] += changed[:, CHIP_SAMPLES:].reshape(-1)
        self._tail = out[-CHIP_SAMPLES:].copy()
        self._waiting = self._waiting[count * CHIP_SAMPLES :]
        return out[:-CHIP_SAMPLES]

    def _gains(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gains in dB of the next frame, whose bands have these levels; both (BANDS,)."""
        signs = self._pattern[self._frame % FRAMES]
        self._frame += 1
        before = levels if self._before is None else self._before
        unmarked = levels - BEFORE * before
        gains = np.zeros(BANDS, np.float32)
        for _ in range(ROUNDS):
            reached = signs * against_bands_beside(unmarked + gains)
            wanted = np.where(reached > -HOPELESS_DB, np.clip(TARGET_DB - reached, 0.0, None), 0.0)
            gains = np.clip(gains + STEP * against_bands_beside(signs * wanted), -GAIN_DB, GAIN_DB)
        self._before = levels + gains
        return gains
