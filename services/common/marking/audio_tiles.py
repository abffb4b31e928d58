"""What a detector makes of a stretch of sound: how much each tile stands out, folded over the mark's period.

Speech varies by some 10 dB from tile to tile; 3 dB are left after a prediction from the tiles around. Tiles count by
how far the marker will have moved them and by how far they are above the noise. Outliers, the speech's own, count less
(the score function of a Cauchy distribution).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FloatArray
from services.common.marking.audio_layout import BANDS, CHIP_SAMPLES, FRAMES, WINDOW_SAMPLES
from services.common.marking.audio_levels import FLOOR, Levels, levels_of, power_of, strengths_of

PHASES: Final = 4  # places within a chip where a pattern may begin
HOP_SAMPLES: Final = CHIP_SAMPLES // PHASES  # 2.5 ms
# prediction from the tile a chip and two before and after, the bands beside, and these at the times before and after:
# least squares over recorded speech, with less weight on the bands, which share the analysis window's leakage
ONE_CHIP, TWO_CHIPS, BESIDE, ONE_BESIDE, TWO_BESIDE = 0.35, 0.12, 0.25, -0.08, -0.03
OUTLIER_DB: Final = 5.0
NOISE_SHARE: Final = 10.0  # percent of the time that only the noise is heard
NOISE_WEIGHT: Final = 6.0

Folded = NDArray[np.float32]  # (..., FRAMES, BANDS)


def spectra_of(samples: FloatArray) -> NDArray[np.float32]:
    """Power spectra of 16 kHz samples (n,), every HOP_SAMPLES: (m, bins)."""
    return power_of(np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::HOP_SAMPLES])


def fold(power: NDArray[np.float32], speed: float = 1.0, pitched: bool = True) -> Folded:
    """How much the tiles stand out, summed over the mark's periods, (PHASES, FRAMES, BANDS).

    Args:
        power: of `spectra_of`.
        speed: the pattern is looked for played that much faster
        pitched: and its frequencies raised as much.
    """
    levels = levels_of(power, speed if pitched else 1.0)
    weights = _weights(levels)
    step = PHASES / speed
    return np.stack([_fold(*_at(levels, weights, first / speed, step)) for first in range(PHASES)])


def fold_aligned(samples: FloatArray) -> Folded:
    """As `fold`, of 16 kHz samples (n,) that begin with a chip: (FRAMES, BANDS). A tenth of the work."""
    levels = levels_of(power_of(np.lib.stride_tricks.sliding_window_view(samples, WINDOW_SAMPLES)[::CHIP_SAMPLES]))
    return _fold(levels, _weights(levels, CHIP_SAMPLES))


def _weights(levels: Levels, hop_samples: int = HOP_SAMPLES) -> NDArray[np.float32]:
    energy = np.power(10.0, levels / 10.0)
    quiet = np.pad(np.percentile(energy, NOISE_SHARE, axis=0), 2, mode="edge")
    noise = NOISE_WEIGHT * np.convolve(quiet, np.full(5, 0.2), "valid")
    strengths, _ = strengths_of(levels, hop_samples)
    audible = np.maximum(energy - 2.0 * FLOOR, 0.0)  # digital silence stands out by nothing
    return np.asarray(strengths * audible / (energy + noise), np.float32)


def _at(levels: Levels, weights: NDArray[np.float32], first: float, step: float) -> tuple[Levels, NDArray[np.float32]]:
    """Levels, interpolated, and weights of chips `step` frames apart."""
    places = np.arange(first, len(levels) - 1, step)
    before = np.minimum(places.astype(np.int64), len(levels) - 2)  # sums of steps may round up to the end
    share = (places - before)[:, None].astype(np.float32)
    return levels[before] + share * (levels[before + 1] - levels[before]), weights[before]


def _fold(levels: Levels, weights: NDArray[np.float32]) -> Folded:
    padded = np.pad(levels, ((2, 2), (1, 1)), mode="edge")
    one, two = padded[1:-3] + padded[3:-1], padded[:-4] + padded[4:]
    still = padded[2:-2]
    out = (
        still[:, 1:-1]
        - ONE_CHIP * one[:, 1:-1]
        - TWO_CHIPS * two[:, 1:-1]
        - BESIDE * (still[:, :-2] + still[:, 2:])
        - ONE_BESIDE * (one[:, :-2] + one[:, 2:])
        - TWO_BESIDE * (two[:, :-2] + two[:, 2:])
    )
    out *= weights / (1.0 + np.square(out / OUTLIER_DB))
    whole = np.zeros((-(-len(out) // FRAMES) * FRAMES, BANDS), np.float32)
    whole[: len(out)] = out
    return np.asarray(whole.reshape(-1, FRAMES, BANDS).sum(axis=0), np.float32)
