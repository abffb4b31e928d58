"""Adds an audio mark to speech while it streams: each 10 ms, 16 bands become a little louder or softer."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.marking.audio_layout import BANDS, CHIP_SAMPLES, FRAMES, WINDOW_SAMPLES, pattern_of
from services.common.marking.audio_levels import band_weights, hann, levels_of, power_of, strengths_of

BATCH_FRAMES: Final = 512


class AudioMarker:
    """Marks one stream of 16 kHz mono speech with a number.

    `write` any number of times, then `finish` once; together they return as many samples as went in, the same whatever
    the pieces. Less than WINDOW_SAMPLES (20 ms) are held back. Digital silence stays silent: it cannot be marked.

    Raises:
        ValueError: if the key has not 32 bytes or the number is not from 1 to 2**32 - 1.
        LikenessError: MARK_FAILED from write and finish when samples come in or would go out that are not finite.
    """

    def __init__(self, key: bytes, number: int) -> None:
        self._pattern = pattern_of(key, number)
        self._frames = 0
        self._waiting = np.zeros(CHIP_SAMPLES, np.float32)  # the first frame is half before the first sample
        self._tail = np.zeros(CHIP_SAMPLES, np.float32)  # of the last frame: the next one adds to it
        self._loudest_db = -np.inf
        self._taken = 0
        self._given = -CHIP_SAMPLES  # as many samples come out before the first
        self._moved_db2 = 0.0

    @property
    def strength(self) -> float:
        """Root mean square of what the tiles were moved by so far, in dB; 0 before the first."""
        return float(np.sqrt(self._moved_db2 / max(1, self._frames * BANDS)))

    def write(self, samples: FloatArray) -> FloatArray:
        """Takes samples, shape (n,), and returns those that are ready, possibly none."""
        if not np.isfinite(samples).all():
            raise LikenessError("MARK_FAILED", "The speech holds samples that are not finite; they cannot be marked.")
        self._taken += samples.size
        return self._feed(samples.astype(np.float32, copy=False))

    def finish(self) -> FloatArray:
        """The samples that were held back. Nothing can be written afterwards."""
        missing = self._taken - max(self._given, 0)
        return self._feed(np.zeros(2 * WINDOW_SAMPLES, np.float32))[:missing]

    def _feed(self, samples: FloatArray) -> FloatArray:
        waiting = np.concatenate([self._waiting, samples])
        count = max(0, waiting.size // CHIP_SAMPLES - 1)
        done = [
            self._mark(waiting[CHIP_SAMPLES * first : CHIP_SAMPLES * (min(first + BATCH_FRAMES, count) + 1)])
            for first in range(0, count, BATCH_FRAMES)
        ]
        self._waiting = waiting[count * CHIP_SAMPLES :]
        ready = np.concatenate([np.zeros(0, np.float32), *done])
        early = min(max(0, -self._given), ready.size)
        self._given += ready.size
        return ready[early:]

    def _mark(self, samples: FloatArray) -> FloatArray:
        """Samples of n frames, (n + 1) * CHIP_SAMPLES -> n * CHIP_SAMPLES that are complete, a chip later."""
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::CHIP_SAMPLES]
        moved_db, self._loudest_db = strengths_of(levels_of(power_of(frames)), CHIP_SAMPLES, self._loudest_db)
        moved_db *= self._pattern[np.arange(self._frames, self._frames + len(frames)) % FRAMES]
        self._frames += len(frames)
        self._moved_db2 += float(np.square(moved_db).sum())
        gains = np.power(10.0, moved_db @ band_weights().T / 20.0)
        window = np.sqrt(hann())
        changed = (np.fft.irfft(np.fft.rfft(frames * window) * gains, WINDOW_SAMPLES) * window).astype(np.float32)
        out = changed[:, :CHIP_SAMPLES].copy()
        out[0] += self._tail
        out[1:] += changed[:-1, CHIP_SAMPLES:]
        self._tail = changed[-1, CHIP_SAMPLES:].copy()
        if not np.isfinite(out).all():
            raise LikenessError("MARK_FAILED", "Marking gave samples that are not finite; they are not released.")
        return out.reshape(-1)
