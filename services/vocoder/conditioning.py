"""What the WaveNet is told besides its own past: normalised frames, the level of each band, the draft's bands.

Every band is divided by the level that the mel promises for it, so the network sees signals of about unit variance
however loud the speech is, and need not learn loudness.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, MEL_BINS
from services.vocoder.config import STEPS_PER_FRAME
from services.vocoder.draft import DraftTuning
from services.vocoder.envelope import ENVELOPE_BINS, NOISE_BIN_MAGNITUDE, envelope_tables
from services.vocoder.pqmf import BANDS, TAPS, filters

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# The draft that the network reads: pinned, so that tuning the served draft does not change what weights were trained
# on. Without dispersion, its waveform is nearest to a recording's (minimum phase).
DRAFT_TUNING: Final = DraftTuning(
    noise_base=0.0, noise_slope=0.03, missing_base=0.1, missing_slope=1.5, dispersion_rad=0.0, follow_valleys=False
)

LEVEL_FLOOR: Final = 3e-5  # -90 dBFS: below the rounding noise of 16-bit samples
MEL_CENTRE: Final = -5.0
MEL_SPREAD: Final = 2.5
LOG_F0_CENTRE: Final = 5.0
LOG_F0_SPREAD: Final = 0.5


@lru_cache(maxsize=1)
def _band_weights() -> F64:
    """Power of each band for a unit envelope, per envelope bin, shape (4, 257)."""
    analysis = filters()[0]
    turns = np.exp(-1j * np.pi * np.arange(ENVELOPE_BINS)[:, None] * np.arange(TAPS) / (ENVELOPE_BINS - 1))
    power: F64 = np.abs(turns @ analysis.T).T ** 2 / (ENVELOPE_BINS - 1) / NOISE_BIN_MAGNITUDE**2
    return power


@numba.njit(cache=True, nogil=True)
def _log_levels(frames: F64, left: I64, weight: F64, offset: F64, weights: F64) -> F64:
    levels = np.zeros((frames.shape[0], BANDS))
    for t in range(frames.shape[0]):
        power = np.zeros(BANDS)
        for b in range(ENVELOPE_BINS):
            lower = frames[t, left[b]] - offset[left[b]]
            upper = frames[t, left[b] + 1] - offset[left[b] + 1]
            magnitude_squared = np.exp(2.0 * ((1.0 - weight[b]) * lower + weight[b] * upper))
            for k in range(BANDS):
                power[k] += weights[k, b] * magnitude_squared
        for k in range(BANDS):
            levels[t, k] = np.log(np.sqrt(power[k]) + LEVEL_FLOOR)
    return levels


def log_levels(frames: F32) -> F32:
    """Logarithm of the root mean square that the mel promises for each band, shape (T, 4), of frames (T, 82)."""
    tables = envelope_tables()
    levels = _log_levels(frames.astype(np.float64), tables.left, tables.weight, tables.offset, _band_weights())
    return np.asarray(levels, np.float32)


def normalise_frames(frames: F32) -> F32:
    """Frames (T, 82) brought to about unit variance, float32."""
    normalised = np.empty((len(frames), FRAME_CHANNELS), np.float32)
    normalised[:, :MEL_BINS] = (frames[:, :MEL_BINS] - MEL_CENTRE) / MEL_SPREAD
    normalised[:, MEL_BINS] = (frames[:, MEL_BINS] - LOG_F0_CENTRE) / LOG_F0_SPREAD
    normalised[:, MEL_BINS + 1] = 2 * frames[:, MEL_BINS + 1] - 1
    return normalised


def between_centres(values: F32) -> F32:
    """Linear interpolation from frame centres, (T, C), to the band steps between them, ((T - 1) * 50, C)."""
    weight = (np.arange(STEPS_PER_FRAME, dtype=np.float32) / STEPS_PER_FRAME)[None, :, None]
    steps = values[:-1, None, :] * (1 - weight) + values[1:, None, :] * weight
    return np.asarray(steps.reshape(-1, values.shape[1]), np.float32)
