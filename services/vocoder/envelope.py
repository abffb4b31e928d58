"""Tables that lead from a log-mel frame to a spectral envelope and its minimum phase.

The logarithm of the envelope is interpolated linearly between the centres of the mel bands. Minimum phase is the
Hilbert transform of log magnitude (the folded cepstrum computes it), hence linear in the log-mel values too: both
are one precomputed matrix each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio.mel import MEL_BINS, N_FFT, SAMPLE_RATE_HZ, hann_window, mel_edges_hz, mel_filterbank

FloatArray = NDArray[np.float64]

ENVELOPE_FFT: Final = 512  # of the noise filter
ENVELOPE_BINS: Final = ENVELOPE_FFT // 2 + 1  # 257 bins of 31.25 Hz
ENVELOPE_STEP_HZ: Final = SAMPLE_RATE_HZ / ENVELOPE_FFT
CEPSTRUM_FFT: Final = 4096  # fine enough for the Hilbert transform of the interpolated envelope
RESPONSE_STEP_HZ: Final = 5.0  # grid on which the mel's answer to a sinusoid is tabulated
# Mean magnitude of one FFT bin for white noise of variance 1: Rayleigh's mean times the window's energy.
NOISE_BIN_MAGNITUDE: Final = float(np.sqrt(np.pi) / 2 * np.sqrt(np.sum(hann_window().astype(np.float64) ** 2)))


@dataclass(frozen=True)
class EnvelopeTables:
    """Everything that rendering needs to know about the mel.

    left, weight: (257,), the envelope's log magnitude at a bin is (1 - weight) * mel[left] + weight * mel[left + 1],
        of log-mel minus `offset`.
    phase: (257, 80), log-mel minus `offset` -> minimum phase in radians.
    nearest: (80,), envelope bin nearest to each band's centre.
    offset: (80,), log of each band's area: makes the envelope a magnitude per FFT bin.
    response: (1601, 80), mel bands' value for a sinusoid of amplitude 1 at multiples of 5 Hz.
    first_band, last_band: (1601,), which of them are not zero: first <= band < last.
    """

    left: NDArray[np.int64]
    weight: FloatArray
    phase: FloatArray
    nearest: NDArray[np.int64]
    offset: FloatArray
    response: FloatArray
    first_band: NDArray[np.int64]
    last_band: NDArray[np.int64]


def _interpolation(frequencies_hz: FloatArray) -> FloatArray:
    """Linear interpolation from values at the bands' centres, held beyond the ends, shape (frequencies, 80)."""
    centres = mel_edges_hz()[1:-1]
    return np.stack([np.interp(frequencies_hz, centres, row) for row in np.eye(MEL_BINS)], axis=1)


def _minimum_phase(log_magnitude: FloatArray) -> FloatArray:
    """Phase of the minimum-phase filters with the given log magnitudes, both shape (bins, columns)."""
    cepstrum = np.fft.irfft(log_magnitude, axis=0)
    size = cepstrum.shape[0]
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    return np.fft.rfft(cepstrum, axis=0).imag


def _sinusoid_response() -> FloatArray:
    frequencies = np.arange(0.0, SAMPLE_RATE_HZ / 2 + RESPONSE_STEP_HZ / 2, RESPONSE_STEP_HZ)
    n = np.arange(N_FFT)
    sinusoids = np.exp(2j * np.pi * frequencies[:, None] * n / SAMPLE_RATE_HZ) * hann_window()
    magnitude = np.abs(np.fft.fft(sinusoids, axis=1))[:, : N_FFT // 2 + 1] / 2
    return magnitude @ mel_filterbank().T.astype(np.float64)


@lru_cache(maxsize=1)
def envelope_tables() -> EnvelopeTables:
    """The tables; made once, in about 0.1 s."""
    fine_hz = np.arange(CEPSTRUM_FFT // 2 + 1) * SAMPLE_RATE_HZ / CEPSTRUM_FFT
    keep = np.arange(ENVELOPE_BINS) * (CEPSTRUM_FFT // ENVELOPE_FFT)
    fine = _interpolation(fine_hz)
    centres = mel_edges_hz()[1:-1]
    bins_hz = np.arange(ENVELOPE_BINS) * ENVELOPE_STEP_HZ
    left = np.clip(np.searchsorted(centres, bins_hz, side="right") - 1, 0, MEL_BINS - 2)
    weight = np.clip((bins_hz - centres[left]) / (centres[left + 1] - centres[left]), 0, 1)
    response = _sinusoid_response()
    response[response < 1e-3 * response.max(axis=1, keepdims=True)] = 0.0
    heard = response > 0
    first = np.argmax(heard, axis=1)
    last = np.where(heard.any(axis=1), MEL_BINS - np.argmax(heard[:, ::-1], axis=1), 0)
    return EnvelopeTables(
        left=left,
        weight=weight,
        phase=np.ascontiguousarray(_minimum_phase(fine)[keep]),
        nearest=np.round(centres / ENVELOPE_STEP_HZ).astype(np.int64),
        offset=np.log(mel_filterbank().astype(np.float64).sum(axis=1)),
        response=np.ascontiguousarray(response),
        first_band=first,
        last_band=last,
    )
