"""Acoustic frames -> which of them are speech.

Energy decides, relative to the recording's own peak and noise floor, so that neither gain nor a steady hum matters;
periodicity confirms: a stretch of energy with hardly any pitch in it (noise, a slammed door) is not speech.
It does not tell speech from music or from a pure tone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, MEL_BINS, FloatArray

SILENCE_DB: Final = -65.0  # mel level of a frame that is never speech; full-scale speech is near 0
RANGE_DB: Final = 40.0  # speech lies within so much of its peak
FLOOR_SHARE: Final = 0.3  # and above this share of the way from floor to peak
VOICED_REACH_FRAMES: Final = round(0.3 * FRAMES_PER_SECOND)  # an unvoiced sound belongs to a vowel this near
VOICED_RUN_FRAMES: Final = 3  # shorter runs of voicing are chance


def frame_level_db(mel: FloatArray) -> NDArray[np.float64]:
    """Level of each frame in decibel, shape (T,), of log-mel frames (T, 80): the mean power of the bins."""
    return np.asarray(10.0 * np.log10(np.mean(np.exp(2.0 * mel.astype(np.float64)), axis=1)))


def dilate(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """True wherever `mask` (T,) is true within `reach` frames to either side."""
    if reach <= 0 or mask.size == 0:
        return mask.copy()
    return np.convolve(mask.astype(np.float32), np.ones(2 * reach + 1, np.float32))[reach:-reach] > 0.5


def erode(mask: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """True wherever `mask` (T,) is true on all frames within `reach`; beyond the ends counts as true."""
    return ~dilate(~mask, reach)


def speech_frames(frames: FloatArray) -> NDArray[np.bool_]:
    """Speech or not, per frame, shape (T,), of acoustic frames (T, 82).

    Pauses, breaths and noise are false. Nothing is smoothed: stops within words may be false as well.
    """
    if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
        raise ValueError(f"expected acoustic frames of shape (T, {FRAME_CHANNELS}), got {frames.shape}")
    if frames.shape[0] == 0:
        return np.zeros(0, np.bool_)
    level_db = frame_level_db(frames[:, :MEL_BINS])
    floor_db, peak_db = np.percentile(level_db, [5.0, 98.0])
    threshold_db = max(SILENCE_DB, peak_db - RANGE_DB, floor_db + FLOOR_SHARE * (peak_db - floor_db))
    # A recording without pauses has no floor to speak of; steady sound is then all above the threshold or all below.
    energetic = level_db >= threshold_db if peak_db - floor_db > 1.0 else level_db > SILENCE_DB
    voiced = (frames[:, -1] >= 0.5) & energetic
    steady = dilate(erode(voiced, VOICED_RUN_FRAMES // 2), VOICED_RUN_FRAMES // 2)
    return energetic & dilate(steady, VOICED_REACH_FRAMES)
