"""Four-band pseudo-quadrature mirror filter bank: 16 kHz <-> four signals of 4 kHz.

Cosine-modulated after Nguyen (1994, "Near-perfect-reconstruction pseudo-QMF banks"): one Kaiser-windowed low-pass
prototype whose cutoff was chosen to let the bands add up to the input best (-64 dB of error). The filters are centred:
step t of every band stands for sample 4 * t, so bands, frames and draft share one clock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

BANDS: Final = 4
TAPS: Final = 63
HALF_TAPS: Final = TAPS // 2
KAISER_BETA: Final = 9.0
CUTOFF: Final = 0.142003  # of the Nyquist frequency

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@lru_cache(maxsize=1)
def filters() -> tuple[F64, F64]:
    """Analysis and synthesis filters, each shape (4, 63)."""
    n = np.arange(TAPS) - HALF_TAPS
    prototype = CUTOFF * np.sinc(CUTOFF * n) * np.kaiser(TAPS, KAISER_BETA)
    bands = np.arange(BANDS)[:, None]
    carrier = (2 * bands + 1) * np.pi / (2 * BANDS) * n
    turn = (-1.0) ** bands * np.pi / 4
    return 2 * prototype * np.cos(carrier + turn), 2 * BANDS * prototype * np.cos(carrier - turn)


def analyse_inside(samples: F32) -> F32:
    """Bands of the steps whose filters lie inside the samples, shape (ceil((n - 62) / 4), 4), from sample 31 on."""
    bands = np.empty((-(-(samples.size - TAPS + 1) // BANDS), BANDS), np.float32)
    _correlate(np.ascontiguousarray(samples, np.float32), _reversed_analysis(), bands)
    return bands


@lru_cache(maxsize=1)
def _reversed_analysis() -> F32:
    return np.ascontiguousarray(filters()[0][:, ::-1], np.float32)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _correlate(samples: F32, reversed_filters: F32, bands: F32) -> None:
    for t in range(bands.shape[0]):
        start = t * BANDS
        for b in range(BANDS):
            total = np.float32(0.0)
            for i in range(TAPS):
                total += samples[start + i] * reversed_filters[b, i]
            bands[t, b] = total


def analyse(samples: F32) -> F32:
    """Bands, shape (n / 4, 4), of samples, shape (n,) with n a multiple of 4; silence is assumed beyond the ends."""
    if samples.ndim != 1 or samples.size % BANDS:
        raise ValueError(f"expected samples of shape (4 * n,), got {samples.shape}")
    return analyse_inside(np.pad(samples.astype(np.float32), HALF_TAPS))


@numba.njit(cache=True, fastmath=True, nogil=True)
def _overlap_add(bands: F64, synthesis: F64, tail: F64, output: F64) -> None:
    """Adds each step's four pulses to `tail` (63,) and moves the 4 samples that are complete to `output`."""
    for t in range(bands.shape[0]):
        for i in range(TAPS):
            total = 0.0
            for b in range(BANDS):
                total += bands[t, b] * synthesis[b, i]
            tail[i] += total
        for i in range(BANDS):
            output[t * BANDS + i] = tail[i]
        for i in range(TAPS - BANDS):
            tail[i] = tail[i + BANDS]
        for i in range(TAPS - BANDS, TAPS):
            tail[i] = 0.0


class SynthesisBank:
    """Streaming synthesis: bands in, samples out 31 samples later; `finish` returns those held back."""

    def __init__(self) -> None:
        self._tail = np.zeros(TAPS)
        self._lead = HALF_TAPS  # samples before time zero, to be dropped
        self._owed = 0  # samples that the steps so far stand for and that were not returned yet

    def push(self, bands: F32) -> F32:
        """Samples that are certain after these band steps, shape (steps, 4)."""
        self._owed += len(bands) * BANDS
        return self._advance(bands)

    def finish(self) -> F32:
        owed = self._owed
        return self._advance(np.zeros((-(-HALF_TAPS // BANDS), BANDS), np.float32))[:owed]

    def _advance(self, bands: F32) -> F32:
        output = np.zeros(len(bands) * BANDS)
        _overlap_add(bands.astype(np.float64), filters()[1], self._tail, output)
        drop = min(self._lead, output.size)
        self._lead -= drop
        self._owed -= output.size - drop
        return output[drop:].astype(np.float32)


def synthesise(bands: F32) -> F32:
    """Samples, shape (steps * 4,), of bands, shape (steps, 4)."""
    bank = SynthesisBank()
    return np.concatenate([bank.push(bands), bank.finish()])
