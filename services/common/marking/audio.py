"""Audio marks as the rest of the project uses them."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.signal import resample_poly

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.marking.audio_layout import layout_of
from services.common.marking.audio_marker import AudioMarker
from services.common.marking.audio_search import chance_of, decode, hypotheses, known_z, sync_z
from services.common.marking.found import MarkFound

__all__ = ["AudioMarker", "confirms_audio_mark", "find_audio_mark"]

MAX_CHANCE: Final = 1e-5
CANDIDATES: Final = 100


def _at_16k(samples: FloatArray, rate_hz: int) -> FloatArray:
    samples = np.nan_to_num(np.asarray(samples, np.float32))
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    divisor = int(np.gcd(rate_hz, SAMPLE_RATE_HZ))
    return np.asarray(resample_poly(samples, SAMPLE_RATE_HZ // divisor, rate_hz // divisor), np.float32)


def find_audio_mark(samples: FloatArray, rate_hz: int, key: bytes) -> MarkFound | None:
    """The mark that samples, shape (n,), at rate_hz carry under `key`; None where none can be read."""
    layout = layout_of(key)
    speech = _at_16k(samples, rate_hz)
    if speech.size < SAMPLE_RATE_HZ // 2:
        return None
    folded, _ = hypotheses(speech)
    scores = sync_z(folded, layout)
    best = (0.0, 0)
    for flat in np.argsort(-scores, axis=None)[:CANDIDATES]:
        speed, phase, shift = np.unravel_index(flat, scores.shape)
        number, statistic = decode(np.roll(folded[speed, phase], -shift, 0), layout)
        best = max(best, (float(statistic), int(number)))
    chance = chance_of(best[0], scores.size * 2.0**32)
    return MarkFound(best[1], 1.0 - chance) if best[1] and chance <= MAX_CHANCE else None


def confirms_audio_mark(samples: FloatArray, rate_hz: int, key: bytes, number: int, max_chance: float = 1e-3) -> bool:
    """Whether samples that were just marked with `number`, and not re-timed, show it.

    A mark with another number, or none, is taken for this one with probability max_chance at most.
    """
    folded, _ = hypotheses(_at_16k(samples, rate_hz), np.ones(1), (0,))
    scores = known_z(folded, key, number)
    return chance_of(float(scores.max()), float(scores.size)) <= max_chance
