"""Whether two outputs are the same speech."""

from __future__ import annotations

import numpy as np

from services.common.decode_audio import decode_audio


def is_same_speech(first: bytes, second: bytes) -> bool:
    """Whether two files hold the same speech, but for the marks, of which each output has its own."""
    samples = [decode_audio(audio).samples for audio in (first, second)]
    return len(samples[0]) == len(samples[1]) and float(np.corrcoef(samples)[0, 1]) > 0.95
