"""Waveform -> log-mel spectrogram: the one definition that training, serving and tests share.

Frame t covers the samples around t * 200 + 100, so n frames stand for exactly n * 200 samples.
Beyond the ends of the recording there is silence; nothing is reflected, so that a stream gives the same frames.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 16_000
HOP_SAMPLES: Final = 200  # 12.5 ms
WINDOW_SAMPLES: Final = 800  # 50 ms
N_FFT: Final = 800
FFT_BINS: Final = N_FFT // 2 + 1  # 401 bins of 20 Hz
MEL_BINS: Final = 80
MEL_LOW_HZ: Final = 55.0
MEL_HIGH_HZ: Final = 7600.0
FRAME_CHANNELS: Final = MEL_BINS + 2  # log-mel, log-F0, voicing
FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ / HOP_SAMPLES  # 80
LOG_FLOOR: Final = 1e-5  # amplitudes below are silence
PADDING_SAMPLES: Final = (WINDOW_SAMPLES - HOP_SAMPLES) // 2  # on each side

FloatArray = NDArray[np.float32]


def frame_count(sample_count: int) -> int:
    """How many frames stand for so many samples; the last one may be partly filled."""
    return -(-sample_count // HOP_SAMPLES)


@lru_cache(maxsize=1)
def hann_window() -> FloatArray:
    """Periodic Hann window, shape (800,)."""
    n = np.arange(WINDOW_SAMPLES)
    return (0.5 - 0.5 * np.cos(2 * np.pi * n / WINDOW_SAMPLES)).astype(np.float32)


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    linear = hz * 3.0 / 200.0
    logarithmic = 15.0 + 27.0 * np.log(np.maximum(hz, 1.0) / 1000.0) / np.log(6.4)
    return np.where(hz < 1000.0, linear, logarithmic)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mel * 200.0 / 3.0
    logarithmic = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, linear, logarithmic)


def mel_edges_hz() -> NDArray[np.float64]:
    """Corner frequencies of the 80 triangles, shape (82,): bin m rises from m to m+1 and falls to m+2."""
    low, high = _hz_to_mel(np.array([MEL_LOW_HZ, MEL_HIGH_HZ]))
    return _mel_to_hz(np.linspace(low, high, MEL_BINS + 2))


@lru_cache(maxsize=1)
def mel_filterbank() -> FloatArray:
    """Area-normalised triangles (Slaney), shape (80, 401)."""
    edges = mel_edges_hz()
    bins_hz = np.arange(FFT_BINS) * SAMPLE_RATE_HZ / N_FFT
    rise = (bins_hz[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins_hz[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    area = 2.0 / (edges[2:] - edges[:-2])
    return (triangles * area[:, None]).astype(np.float32)


def magnitude_spectrogram(samples: FloatArray) -> FloatArray:
    """Short-time magnitude spectrum, shape (frames, 401), of mono float32 samples at 16 kHz, shape (n,).

    Raises:
        ValueError: `samples` is not a non-empty one-dimensional array of finite numbers.
    """
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"expected a non-empty mono signal of shape (n,), got shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("the signal holds NaN or infinite samples")
    frames = frame_count(samples.size)
    padded = np.zeros(frames * HOP_SAMPLES + 2 * PADDING_SAMPLES, np.float32)
    padded[PADDING_SAMPLES : PADDING_SAMPLES + samples.size] = samples
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    return np.abs(np.fft.rfft(windows * hann_window(), N_FFT, axis=1)).astype(np.float32)


def log_mel(samples: FloatArray) -> FloatArray:
    """Log-mel spectrogram, natural logarithm of amplitude, shape (frames, 80), of 16 kHz mono float32 samples."""
    mel: FloatArray = magnitude_spectrogram(samples) @ mel_filterbank().T
    logarithm: FloatArray = np.log(np.maximum(mel, np.float32(LOG_FLOOR)))
    return logarithm
