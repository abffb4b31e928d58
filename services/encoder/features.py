"""Waveform -> the mel windows that the GE2E network was trained on.

These are the network's own features, not those of `services.common.audio`: 40 bands of mel power (no logarithm),
25 ms windows every 10 ms. A window of the network is 160 frames, 1.6 s.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray

MEL_BANDS: Final = 40
FFT_SAMPLES: Final = 400  # 25 ms
STEP_SAMPLES: Final = 160  # 10 ms
WINDOW_FRAMES: Final = 160  # 1.6 s
WINDOW_SAMPLES: Final = WINDOW_FRAMES * STEP_SAMPLES
WINDOWS_PER_SECOND: Final = 1.3
WINDOW_STEP_FRAMES: Final = round(SAMPLE_RATE_HZ / WINDOWS_PER_SECOND / STEP_SAMPLES)  # 77: windows overlap by half
MIN_COVERAGE: Final = 0.75  # a last window with less sound in it is dropped
TARGET_LEVEL_DBFS: Final = -30.0  # quieter recordings are raised to it


@lru_cache(maxsize=1)
def filterbank() -> FloatArray:
    """Area-normalised triangles on Slaney's mel scale from 0 to 8 kHz, shape (40, 201)."""

    top_mel = 15.0 + 27.0 * np.log(SAMPLE_RATE_HZ / 2 / 1000.0) / np.log(6.4)
    mel = np.linspace(0.0, top_mel, MEL_BANDS + 2)
    edges = np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0))
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / FFT_SAMPLES
    rise = (bins_hz - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins_hz) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    triangles = np.maximum(0.0, np.minimum(rise, fall)) * area[:, None]
    return np.asarray(triangles, np.float32)


def mel_power(samples: FloatArray) -> FloatArray:
    """Mel power, shape (1 + n // 160, 40), of 16 kHz samples (n,); frame t is centred on sample 160 t."""
    padded = np.pad(samples, FFT_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::STEP_SAMPLES]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT_SAMPLES) / FFT_SAMPLES)
    power = np.abs(np.fft.rfft(frames * hann.astype(np.float32), axis=1)) ** 2
    return (power.astype(np.float32) @ filterbank().T).astype(np.float32)


def raise_level(samples: FloatArray) -> FloatArray:
    """Amplifies a recording whose level is below -30 dBFS to that; leaves others, and silence, as they are."""
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    gain = 10 ** (TARGET_LEVEL_DBFS / 20) / max(rms, 1e-9)
    return samples * np.float32(gain) if 1.0 < gain < 1e6 else samples


def window_starts(sample_count: int) -> list[int]:
    """First frame of each window of a recording: every 77 frames, and at least one window."""
    frame_count = -(-(sample_count + 1) // STEP_SAMPLES)
    starts = list(range(0, max(1, frame_count - WINDOW_FRAMES + WINDOW_STEP_FRAMES + 1), WINDOW_STEP_FRAMES))
    if len(starts) > 1 and (sample_count - starts[-1] * STEP_SAMPLES) / WINDOW_SAMPLES < MIN_COVERAGE:
        starts.pop()
    return starts


def mel_windows(samples: FloatArray) -> FloatArray:
    """Windows for the network, shape (windows, 160, 40), of 16 kHz samples (n,); silence fills the last one."""
    starts = window_starts(samples.size)
    needed = (starts[-1] + WINDOW_FRAMES) * STEP_SAMPLES
    mel = mel_power(np.pad(raise_level(samples), (0, max(0, needed - samples.size))))
    return np.stack([mel[start : start + WINDOW_FRAMES] for start in starts])
