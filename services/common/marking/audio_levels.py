"""Levels of speech in the mark's bands, and how far they may be moved unheard.

A band that is much quieter than the whole of its moment is masked, the more so just after something louder: it may be
moved by STRENGTH_DB decibels, a band that dominates only by a quarter of a decibel. Quality predictors (DNSMOS) hardly
notice changes of the quiet tiles, and codecs at the rates we test keep them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ
from services.common.marking.audio_layout import BANDS, CHIP_SAMPLES, HIGH_HZ, LOW_HZ, WINDOW_SAMPLES

Levels = NDArray[np.float32]  # (n, BANDS), dB
FLOOR: Final = 1e-5  # added to a tile's energy (full-scale sine: 6,400): digital silence has a level too
BELOW_DB: Final = (-30.0, -10.0)  # of a band against the loudest of late
STRENGTH_DB: Final = (4.5, 0.25)  # how far the band is moved at these; in between linear
DECAY_DB: Final = 0.5  # by which the memory of something loud fades, per chip (10 ms)


@lru_cache(maxsize=128)
def band_weights(scale: float = 1.0) -> NDArray[np.float32]:
    """Share of each frequency bin in each band, whose edges are multiplied by scale, shape (bins, BANDS)."""
    bin_hz = SAMPLE_RATE_HZ / WINDOW_SAMPLES
    edges = np.linspace(LOW_HZ, HIGH_HZ, BANDS + 1) * scale
    bins = np.arange(WINDOW_SAMPLES // 2 + 1)[:, None] * bin_hz
    inside = np.minimum(bins + bin_hz / 2, edges[1:]) - np.maximum(bins - bin_hz / 2, edges[:-1])
    return np.asarray(np.clip(inside, 0.0, bin_hz) / bin_hz, np.float32)


@lru_cache(maxsize=1)
def hann() -> NDArray[np.float32]:
    """Periodic Hann window, shape (WINDOW_SAMPLES,): copies half a window apart add up to 1."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES), np.float32)


def power_of(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power spectra of frames (n, WINDOW_SAMPLES), shape (n, bins)."""
    return np.asarray(np.square(np.abs(np.fft.rfft(frames * hann()))), np.float32)


def levels_of(power: NDArray[np.float32], scale: float = 1.0) -> Levels:
    """Power spectra (n, bins) -> levels of the bands, (n, BANDS)."""
    return np.asarray(10.0 * np.log10(power @ band_weights(scale) + FLOOR), np.float32)


def strengths_of(levels: Levels, hop_samples: int, loudest_db: float = -np.inf) -> tuple[Levels, float]:
    """How far each tile is moved, in dB, and the loudness that is remembered after the last of them.

    Args:
        levels: of frames hop_samples apart.
        hop_samples: of the frames; what was loud fades by DECAY_DB each CHIP_SAMPLES.
        loudest_db: what is remembered from before the first frame.
    """
    fade = DECAY_DB * hop_samples / CHIP_SAMPLES * np.arange(1, len(levels) + 1)
    loudness = 10.0 * np.log10(np.power(10.0, levels / 10.0).sum(axis=1))
    loudest = np.maximum.accumulate(np.maximum(loudness + fade, loudest_db)) - fade
    below = np.clip((levels - loudest[:, None] - BELOW_DB[0]) / (BELOW_DB[1] - BELOW_DB[0]), 0.0, 1.0)
    return (STRENGTH_DB[0] + (STRENGTH_DB[1] - STRENGTH_DB[0]) * below).astype(np.float32), float(loudest[-1])
