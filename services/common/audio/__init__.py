"""Audio as every stage sees it: 16 kHz mono float32, log-mel, pitch, acoustic frames."""

from services.common.audio.mel import (
    FRAME_CHANNELS,
    FRAMES_PER_SECOND,
    HOP_SAMPLES,
    MEL_BINS,
    SAMPLE_RATE_HZ,
    FloatArray,
    frame_count,
    log_mel,
)
from services.common.audio.pitch import acoustic_frames, track_pitch

__all__ = [
    "FRAMES_PER_SECOND",
    "FRAME_CHANNELS",
    "HOP_SAMPLES",
    "MEL_BINS",
    "SAMPLE_RATE_HZ",
    "FloatArray",
    "acoustic_frames",
    "frame_count",
    "log_mel",
    "track_pitch",
]
