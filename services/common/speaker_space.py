"""A speaker's frames with that speaker's own averages taken out, and formants moved along the mel axis.

What is left of a frame is how it differs from the speaker's average speech, in units of the speaker's own spread: the
same phone then looks alike for all. The encoder describes references in this space, the synthesizer works in it.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.audio.mel import mel_edges_hz

LOG_F0: Final = MEL_BINS  # channel
VOICING: Final = MEL_BINS + 1  # channel
MIN_MEL_SPREAD: Final = 0.4  # a band without life would otherwise be blown up
MIN_LOG_F0_SPREAD: Final = 0.05
# Tried for a voice. With others the speaker encoder is pleased now and then, but words are lost (ADRs 7 and 17).
FORMANT_WARPS: Final = (1.0, 1.08)
CLIP: Final = 6.0  # of normalised numbers: silence lies near -4


class Averages(Protocol):
    """A speaker's averages; see `services.common.profile.SpeakerStatistics`."""

    @property
    def log_f0_median(self) -> float: ...
    @property
    def log_f0_spread(self) -> float: ...
    @property
    def mel_mean(self) -> FloatArray: ...
    @property
    def mel_spread(self) -> FloatArray: ...


def normalise(frames: FloatArray, speaker: Averages) -> FloatArray:
    """Acoustic frames (T, 82) of a speaker -> normalised frames (T, 82), voicing from -1 to 1."""
    if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
        raise ValueError(f"expected acoustic frames (T, {FRAME_CHANNELS}), got {frames.shape}")
    out = np.empty_like(frames, dtype=np.float32)
    out[:, :MEL_BINS] = (frames[:, :MEL_BINS] - speaker.mel_mean) / np.maximum(speaker.mel_spread, MIN_MEL_SPREAD)
    spread = max(speaker.log_f0_spread, MIN_LOG_F0_SPREAD)
    out[:, LOG_F0] = (frames[:, LOG_F0] - speaker.log_f0_median) / spread
    out[:, VOICING] = 2.0 * frames[:, VOICING] - 1.0
    return np.clip(out, -CLIP, CLIP)


def warp_matrix(factor: float) -> FloatArray:
    """Bands with formants at f -> bands with formants at factor * f: a matrix (80, 80) for mel @ matrix.

    Linear interpolation on the mel axis; beyond the ends the last band repeats.
    """
    centres_hz = mel_edges_hz()[1:-1]
    positions = np.interp(centres_hz / factor, centres_hz, np.arange(MEL_BINS))
    lower = np.minimum(positions.astype(np.int64), MEL_BINS - 2)
    share = positions - lower
    matrix = np.zeros((MEL_BINS, MEL_BINS), np.float32)
    bands = np.arange(MEL_BINS)
    matrix[lower, bands] = 1.0 - share
    matrix[lower + 1, bands] += share
    return matrix
