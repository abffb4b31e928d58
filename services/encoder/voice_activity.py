"""A recording -> its speech, with the pauses cut out.

Frames are judged by `services.common.speech_activity`; here the short gaps inside words are filled and a little sound
is kept around each stretch, since the network has learned from speech cut this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAMES_PER_SECOND, HOP_SAMPLES, FloatArray
from services.common.speech_activity import dilate, erode, speech_frames

GAP_FRAMES: Final = round(0.2 * FRAMES_PER_SECOND)  # shorter gaps belong to the speech around them
MARGIN_FRAMES: Final = round(0.05 * FRAMES_PER_SECOND)  # kept on both sides
MIN_RUN_FRAMES: Final = round(0.06 * FRAMES_PER_SECOND)  # shorter stretches are clicks


@dataclass(frozen=True, eq=False)
class SpeechActivity:
    """Where there is speech.

    Attributes:
        mask: speech or not, per acoustic frame of 12.5 ms, shape (T,).
        kept: which of those frames are in `trimmed`, shape (T,).
        trimmed: the samples of the speech, pauses cut out, shape (n,).
    """

    mask: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    trimmed: FloatArray

    @property
    def speech_s(self) -> float:
        return float(self.mask.sum()) / FRAMES_PER_SECOND


def find_speech(samples: FloatArray, frames: FloatArray) -> SpeechActivity:
    """Speech in 16 kHz samples (n,), by their acoustic frames (T, 82)."""
    mask = speech_frames(frames)
    mask = erode(dilate(mask, GAP_FRAMES // 2), GAP_FRAMES // 2)
    mask = dilate(erode(mask, MIN_RUN_FRAMES // 2), MIN_RUN_FRAMES // 2)
    kept = dilate(mask, MARGIN_FRAMES)
    return SpeechActivity(mask, kept, samples[np.repeat(kept, HOP_SAMPLES)[: samples.size]])
