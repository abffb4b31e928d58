"""The acoustic space in which the network works: every speaker's frames with that speaker's own averages taken out.

What is left of a frame is how it differs from the speaker's average speech, in units of the speaker's own spread: the
same phone then looks alike for all, so that few training speakers suffice, and a voice never heard in training is
put back in from the statistics of its recording.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.common.audio import FRAME_CHANNELS, MEL_BINS, FloatArray
from services.common.profile import SpeakerProfile

LOG_F0: Final = MEL_BINS  # channel
VOICING: Final = MEL_BINS + 1  # channel
MIN_MEL_SPREAD: Final = 0.4  # a band without life would otherwise be blown up
MIN_LOG_F0_SPREAD: Final = 0.05
CLIP: Final = 6.0  # of normalised numbers: silence lies near -4


def normalise(frames: FloatArray, profile: SpeakerProfile) -> FloatArray:
    """Acoustic frames (T, 82) of the profile's speaker -> normalised frames (T, 82), voicing from -1 to 1."""
    if frames.ndim != 2 or frames.shape[1] != FRAME_CHANNELS:
        raise ValueError(f"expected acoustic frames (T, {FRAME_CHANNELS}), got {frames.shape}")
    out = np.empty_like(frames, dtype=np.float32)
    out[:, :MEL_BINS] = (frames[:, :MEL_BINS] - profile.mel_mean) / np.maximum(profile.mel_spread, MIN_MEL_SPREAD)
    spread = max(profile.log_f0_spread, MIN_LOG_F0_SPREAD)
    out[:, LOG_F0] = (frames[:, LOG_F0] - profile.log_f0_median) / spread
    out[:, VOICING] = 2.0 * frames[:, VOICING] - 1.0
    return np.clip(out, -CLIP, CLIP)
