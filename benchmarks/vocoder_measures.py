"""Measures of a copy against the recording it was made from, and Griffin-Lim as the peer that needs no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAMES_PER_SECOND, HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, FloatArray
from services.common.audio.mel import N_FFT, PADDING_SAMPLES, hann_window, mel_edges_hz, mel_filterbank

F0_FLOOR_HZ: Final = 60.0
F0_CEILING_HZ: Final = 500.0
CEPSTRUM_ORDER: Final = 24
SPEECH_FLOOR_DB: Final = 40.0  # frames this far below the loudest are not compared

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Analysis:
    """pyworld's view of a signal: F0 in hertz (0 where unvoiced), (T,); mel-cepstrum, (T, 25); level in dB, (T,)."""

    f0_hz: F64
    cepstrum: F64
    level_db: F64


def analyse(samples: FloatArray) -> Analysis:
    """F0 by dio and stonemask, envelope by CheapTrick (Morise 2016), every 12.5 ms."""
    import pyworld

    signal = samples.astype(np.float64) + 1e-6 * np.random.default_rng(0).standard_normal(samples.size)
    period_ms = 1000 / FRAMES_PER_SECOND
    coarse, times = pyworld.dio(signal, SAMPLE_RATE_HZ, F0_FLOOR_HZ, F0_CEILING_HZ, frame_period=period_ms)
    f0_hz = pyworld.stonemask(signal, coarse, times, SAMPLE_RATE_HZ)
    power: F64 = pyworld.cheaptrick(signal, f0_hz, times, SAMPLE_RATE_HZ)
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, power.shape[1])
    centres_hz = mel_edges_hz()[1:-1]
    log_amplitude = np.stack([np.interp(centres_hz, bins_hz, row) for row in 0.5 * np.log(power)])
    order = np.arange(CEPSTRUM_ORDER + 1)[:, None]
    basis = 2 / MEL_BINS * np.cos(np.pi * order * (np.arange(MEL_BINS) + 0.5) / MEL_BINS)
    return Analysis(f0_hz, log_amplitude @ basis.T, 10 * np.log10(power.mean(axis=1)))


def mel_cepstral_distortion_db(recording: Analysis, copy: Analysis) -> float:
    """Kubichek (1993), over the frames of speech, without the zeroth coefficient."""
    count = min(len(recording.cepstrum), len(copy.cepstrum))
    speech = recording.level_db[:count] > recording.level_db.max() - SPEECH_FLOOR_DB
    difference = (recording.cepstrum[:count] - copy.cepstrum[:count])[speech, 1:]
    return float(10 / np.log(10) * np.sqrt(2 * (difference**2).sum(axis=1)).mean())


def pitch_errors(recording: Analysis, copy: Analysis) -> tuple[F64, NDArray[np.bool_]]:
    """Errors of F0 in cents where both are voiced, (V,), and whether voicing differs, (T,)."""
    count = min(len(recording.f0_hz), len(copy.f0_hz))
    one, other = recording.f0_hz[:count], copy.f0_hz[:count]
    both = (one > 0) & (other > 0)
    return 1200 * np.log2(other[both] / one[both]), (one > 0) != (other > 0)


def griffin_lim(frames: FloatArray, iterations: int = 60, seed: int = 0) -> FloatArray:
    """Samples (T * 200,) of acoustic frames (T, 82) from the mel alone (Griffin and Lim 1984)."""
    inverse = np.linalg.pinv(mel_filterbank().astype(np.float64))
    magnitude = np.maximum(np.exp(frames[:, :MEL_BINS].astype(np.float64)) @ inverse.T, 1e-5)
    window = hann_window().astype(np.float64)
    turn = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitude.shape)
    spectrum = magnitude * np.exp(1j * turn)
    for _ in range(iterations):
        padded = _overlap_add(spectrum, window)
        views = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_SAMPLES]
        rebuilt = np.fft.rfft(views * window, axis=1)
        spectrum = magnitude * rebuilt / np.maximum(np.abs(rebuilt), 1e-9)
    samples = _overlap_add(spectrum, window)[PADDING_SAMPLES:]
    return np.asarray(samples[: len(frames) * HOP_SAMPLES], np.float32)


def _overlap_add(spectrum: NDArray[np.complex128], window: F64) -> F64:
    """Least-squares inverse of the spectrogram, with its padding."""
    pieces = np.fft.irfft(spectrum, N_FFT, axis=1) * window
    total = np.zeros(len(pieces) * HOP_SAMPLES + N_FFT - HOP_SAMPLES)
    weight = np.zeros_like(total)
    for index, piece in enumerate(pieces):
        total[index * HOP_SAMPLES : index * HOP_SAMPLES + N_FFT] += piece
        weight[index * HOP_SAMPLES : index * HOP_SAMPLES + N_FFT] += window**2
    return total / np.maximum(weight, 1e-3)


def describe(values: list[float]) -> float | None:
    """Their mean, rounded for people; nothing of nothing."""
    return round(float(np.mean(values)), 4) if values else None
