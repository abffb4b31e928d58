"""What embedder and detector look at: how much louder a tile is than its neighbours make one expect, in decibels.

Speech varies by some 10 dB from tile to tile; what is left after a prediction from the tile before and the bands beside
varies by 4 dB. The prediction uses nothing later than the tile itself, so the embedder sees exactly what the detector
will see and has to change only the tiles whose sign is not yet the mark's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ
from services.common.marking.audio_layout import BANDS, HIGH_HZ, LOW_HZ, WINDOW_SAMPLES

BEFORE: Final = 0.63  # weights of the prediction: least squares over recorded speech
BESIDE: Final = 0.37
FLOOR: Final = 1e-5  # added to a tile's energy (full scale sine: 1e4): digital silence has a level too
LIMIT_DB: Final = 5.0  # a tile counts at most that much: the rest is the speech's own


@lru_cache(maxsize=128)
def band_weights(scale: float = 1.0) -> NDArray[np.float32]:
    """Share of each frequency bin in each band whose edges are multiplied by scale, shape (bins, BANDS)."""
    bin_hz = SAMPLE_RATE_HZ / WINDOW_SAMPLES
    edges = np.linspace(LOW_HZ, HIGH_HZ, BANDS + 1) * scale
    bins = np.arange(WINDOW_SAMPLES // 2 + 1)[:, None] * bin_hz
    inside = np.minimum(bins + bin_hz / 2, edges[1:]) - np.maximum(bins - bin_hz / 2, edges[:-1])
    return (np.clip(inside, 0.0, bin_hz) / bin_hz).astype(np.float32)


def levels_of(power: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
    """Power spectra (n, bins) -> levels of the bands in dB, (n, BANDS)."""
    return np.asarray(10.0 * np.log10(power @ band_weights(scale) + FLOOR), np.float32)


def against_bands_beside(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Levels (..., BANDS) minus what the bands beside predict; the outermost have one such band, which counts twice."""
    out = levels.copy()
    out[..., 1:-1] -= BESIDE * (levels[..., :-2] + levels[..., 2:])
    out[..., 0] -= 2 * BESIDE * levels[..., 1]
    out[..., -1] -= 2 * BESIDE * levels[..., -2]
    return out
