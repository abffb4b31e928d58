"""Audio as every stage sees it: 16 kHz mono float32, log-mel, pitch, acoustic frames.

The pitch tracker is loaded at its first use: it brings numba, 90 MB of memory that who only passes audio on can do
without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name in ("acoustic_frames", "track_pitch"):
        from services.common.audio import pitch

        return getattr(pitch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
