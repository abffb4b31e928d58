"""What an engine made, brought to the mel that was asked for.

An engine works from the frames, but what comes out does not measure exactly as they say: a network draws its samples, a
source-filter model idealises. So the sound is measured as the frames were (mel.py), and where a band is too weak or too
loud a slowly changing filter mends it. Hearers and speaker encoders go by the mel more than by anything else; the
figures are in the model card. It costs two frames (25 ms) of delay, for the window of the measurement.

Frames that were predicted for another pitch hold harmonics that are not those of the sound. `smoothing` keeps the
correction to what is broader than these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.common.audio import HOP_SAMPLES, MEL_BINS
from services.common.audio.mel import (
    FFT_BINS,
    LOG_FLOOR,
    N_FFT,
    PADDING_SAMPLES,
    WINDOW_SAMPLES,
    hann_window,
    mel_filterbank,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MOST: Final = 1.0  # of a correction, in nats either way: 8.7 dB. What is further off is not mended by a filter.
FILTER_SAMPLES: Final = 2 * HOP_SAMPLES  # windows of the filter, which overlap by half
FILTER_BINS: Final = FILTER_SAMPLES // 2 + 1
_LEAD: Final = (FILTER_SAMPLES - HOP_SAMPLES) // 2  # samples before its frame that a window of the filter begins


@lru_cache(maxsize=1)
def _filter_window() -> F64:
    """Root of a periodic Hann window: twice applied and overlapped by half, windows add up to 1."""
    return np.asarray(np.sin(np.pi * np.arange(FILTER_SAMPLES) / FILTER_SAMPLES))


@lru_cache(maxsize=4)
def _spread(smoothing: float) -> F64:
    """Correction of mel bands -> of the filter's bins, shape (201, 80): each bin by the bands that hear it, and those
    that none hears like the nearest that one does. Bands are smoothed by a Gaussian of `smoothing` bands before."""
    filters = _filterbank()[:, :: N_FFT // FILTER_SAMPLES]
    heard = np.flatnonzero(filters.sum(axis=0) > 0)
    nearest = heard[np.abs(np.arange(FILTER_BINS)[:, None] - heard).argmin(axis=1)]
    weights = filters[:, nearest].T
    weights = weights / weights.sum(axis=1, keepdims=True)
    if smoothing:
        bands = np.arange(MEL_BINS)
        kernel = np.exp(-0.5 * ((bands[:, None] - bands) / smoothing) ** 2)
        weights = weights @ (kernel / kernel.sum(axis=1, keepdims=True))
    return np.ascontiguousarray(weights)


@lru_cache(maxsize=1)
def _filterbank() -> F64:
    return mel_filterbank().astype(np.float64)


@lru_cache(maxsize=1)
def _bounds() -> I64:
    """First bin that a mel band hears, and the one after its last, shape (80, 2)."""
    hears = mel_filterbank() > 0
    return np.stack([hears.argmax(axis=1), FFT_BINS - hears[:, ::-1].argmax(axis=1)], axis=1)


@numba.njit(cache=True, nogil=True)
def _filters(
    magnitudes: F64, targets: F32, filterbank: F64, bounds: I64, spread: F64, floor: float, most: float
) -> F64:
    """Gains (n, 201) that bring spectra (n, 401) to the log-mel of `targets` (n, 80), as far as `most` allows."""
    count = magnitudes.shape[0]
    gains = np.empty((count, spread.shape[0]))
    missing = np.empty(filterbank.shape[0])
    for t in range(count):
        for m in range(filterbank.shape[0]):
            mel = 0.0
            for b in range(bounds[m, 0], bounds[m, 1]):
                mel += magnitudes[t, b] * filterbank[m, b]
            missing[m] = min(max(targets[t, m] - np.log(max(mel, floor)), -most), most)
        for b in range(spread.shape[0]):
            log_gain = 0.0
            for m in range(missing.size):
                log_gain += spread[b, m] * missing[m]
            gains[t, b] = np.exp(log_gain)
    return gains


class MelCorrection:
    """One utterance: samples and the frames that they were made of go in, corrected samples come out, as many."""

    def __init__(self, smoothing: float = 0.0) -> None:
        """`smoothing`: standard deviation in mel bands."""
        self._spread = _spread(smoothing)
        # those not needed any more are dropped; the first one kept is sample `_start`
        self._samples = np.zeros(PADDING_SAMPLES, np.float32)
        self._start = -PADDING_SAMPLES
        self._targets = np.zeros((0, MEL_BINS), np.float32)  # of the frames not done
        self._done = 0  # frames
        self._overlap = np.zeros(FILTER_SAMPLES - HOP_SAMPLES)
        self._last_gain: F64 | None = None

    def push(self, samples: F32, frames: F32) -> F32:
        """Takes samples (n,) and frames (m, 82), which may run ahead of each other; returns those that are certain."""
        self._samples = np.concatenate([self._samples, samples])
        self._targets = np.concatenate([self._targets, frames[:, :MEL_BINS].astype(np.float32)])
        known = self._start + self._samples.size
        reach = WINDOW_SAMPLES - PADDING_SAMPLES  # beyond a frame's first sample
        return self._advance(min(len(self._targets), (known - reach) // HOP_SAMPLES + 1 - self._done))

    def finish(self) -> F32:
        """The samples still owed, once all were pushed."""
        rest = self.push(np.zeros(WINDOW_SAMPLES, np.float32), np.zeros((0, MEL_BINS), np.float32))
        if self._last_gain is None:
            return rest
        end = self._filter(self._last_gain, self._done)[:_LEAD]  # half a window after the last frame
        return np.concatenate([rest, end.astype(np.float32)])

    def _advance(self, count: int) -> F32:
        if count < 1:
            return np.zeros(0, np.float32)
        windows = self._windows(self._done * HOP_SAMPLES - PADDING_SAMPLES, WINDOW_SAMPLES, count) * hann_window()
        gains = _filters(
            np.abs(np.fft.rfft(windows.astype(np.float64), N_FFT, axis=1)),
            self._targets[:count],
            _filterbank(),
            _bounds(),
            self._spread,
            LOG_FLOOR,
            MOST,
        )
        first = self._done
        if first == 0:  # half a window before the first frame
            self._filter(gains[:1], -1)
        corrected = self._filter(gains, first)
        self._last_gain = gains[-1:]
        self._done += count
        self._targets = self._targets[count:]
        unused = self._done * HOP_SAMPLES - PADDING_SAMPLES - self._start
        self._samples, self._start = self._samples[unused:], self._start + unused
        return corrected[_LEAD if first == 0 else 0 :].astype(np.float32)

    def _filter(self, gains: F64, first: int) -> F64:
        """The samples (n * 200,) that are complete once the windows of frames from `first` on are filtered."""
        window, count = _filter_window(), len(gains)
        windows = self._windows(first * HOP_SAMPLES - _LEAD, FILTER_SAMPLES, count) * window
        filtered = np.fft.irfft(np.fft.rfft(windows, axis=1) * gains, FILTER_SAMPLES, axis=1) * window
        total = np.zeros((count + 1, HOP_SAMPLES))
        total[0] = self._overlap
        total[:-1] += filtered[:, :HOP_SAMPLES]
        total[1:] += filtered[:, HOP_SAMPLES:]
        self._overlap = total[-1]
        return total[:-1].reshape(-1)

    def _windows(self, begin: int, length: int, count: int) -> F32:
        """Views (count, length) of the samples from `begin` on, one per frame."""
        views = np.lib.stride_tricks.sliding_window_view(self._samples, length)
        return views[begin - self._start :: HOP_SAMPLES][:count]
