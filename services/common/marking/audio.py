"""Audio marks: a 32-bit number in speech, unheard, found only with the key. See docs/adr/0009-audio-mark.md.

What they do not do: a mark is in what is said, not in silence; speech of less than about two seconds may be too little
to be read. Whoever has the key can remove it, and so can heavy noise or a new synthesis of the speech.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.marking.audio_code import agreement, chance_of
from services.common.marking.audio_layout import CHIP_SAMPLES, layout_of, pattern_of
from services.common.marking.audio_marker import AudioMarker
from services.common.marking.audio_search import LEAST_SAMPLES, Search, fold_stretches
from services.common.marking.audio_tiles import Folded, fold_aligned
from services.common.marking.found import MarkFound

__all__ = ["AudioMarkSearch", "AudioMarker", "confirms_audio_mark", "find_audio_mark", "is_enough_to_confirm"]

CONFIRM_CHANCE: Final = 1e-3
AUDIBLE: Final = 1e-3  # -60 dB of full scale: quieter sound holds little after 16-bit rounding
LEAST_AUDIBLE_S: Final = 0.8
LEAST_SYMBOL: Final = 2.4  # of a symbol's statistic; random signs reach it in 2.6 % of the cases at most
LEAST_SYMBOL_SHARE: Final = 0.25  # of the whole statistic; a symbol that is there has half of it


class AudioMarkSearch:
    """A search of samples, shape (n,), at rate_hz, for whoever tries several keys."""

    def __init__(self, samples: FloatArray, rate_hz: int) -> None:
        self._search = Search(_at_16_khz(samples, rate_hz))

    def find(self, key: bytes) -> MarkFound | None:
        """As `find_audio_mark`."""
        found = self._search.find(layout_of(key))
        return None if found is None else MarkFound(found.number, 1.0 - found.chance)


def find_audio_mark(samples: FloatArray, rate_hz: int, key: bytes) -> MarkFound | None:
    """The mark that samples, shape (n,), at rate_hz carry under `key`; None where none can be read.

    Sound without a mark of this key is taken for marked with probability 1e-5 at most, whatever it is. Of long sound
    the loudest stretches are searched for marks that were played faster or slower, and all of it for others.
    Raises ValueError unless the key has 32 bytes.
    """
    return AudioMarkSearch(samples, rate_hz).find(key)


def confirms_audio_mark(
    samples: FloatArray, rate_hz: int, key: bytes, number: int, *, begins_at: int | None = None
) -> bool:
    """Whether samples, shape (n,), that were not re-timed since carry this number: what a release gate asks.

    Since the number is known, less speech is enough than for reading it. The whole pattern must agree, and each of its
    three symbols by itself: another number differs in two of them. Sound with another number or none passes with
    probability CONFIRM_CHANCE at most. Sound of which less than LEAST_AUDIBLE_S is louder than -60 dB of full scale
    passes always: there is next to nothing to be marked. Raises ValueError as `AudioMarker` does.

    Args:
        begins_at: how many 16 kHz samples the marker had given before these; None where that is not known, which takes
            ten times as long.
    """
    speech = _at_16_khz(samples, rate_hz)
    if not _is_enough(speech):
        return True
    pattern = pattern_of(key, number)
    if begins_at is None:
        tiles, statistic, trials = _tiles_anywhere(speech, pattern)
    else:
        tiles = _tiles_after(speech, begins_at)
        statistic, trials = float((tiles * pattern).sum() / (np.linalg.norm(tiles) + 1e-9)), 1
    if chance_of(statistic, trials) > CONFIRM_CHANCE:
        return False
    least = max(LEAST_SYMBOL, LEAST_SYMBOL_SHARE * statistic)
    signed = (tiles * pattern).reshape(-1)
    return all(
        float(signed[places].sum()) >= least * (float(np.linalg.norm(tiles.reshape(-1)[places])) + 1e-9)
        for places in layout_of(key).words
    )


def _tiles_anywhere(speech: FloatArray, pattern: NDArray[np.float32]) -> tuple[Folded, float, int]:
    """Tiles from where the pattern fits best, its statistic there, and how many places were tried."""
    folded = fold_stretches(speech)
    scores = agreement(folded, pattern)
    stretch, phase, frame = np.unravel_index(int(scores.argmax()), scores.shape)
    return np.roll(folded[stretch, phase], -int(frame), axis=0), float(scores.max()), scores.size


def _tiles_after(speech: FloatArray, begins_at: int) -> Folded:
    """Tiles in the pattern's order, of speech before which the marker had given so many samples."""
    chip = -(-begins_at // CHIP_SAMPLES)
    folded = fold_aligned(speech[chip * CHIP_SAMPLES - begins_at :])
    return np.roll(folded, chip + 1, axis=0)  # the marker's first frame begins a chip before the first sample


def is_enough_to_confirm(samples: FloatArray, rate_hz: int) -> bool:
    """Whether of samples, shape (n,), so much can be heard that `confirms_audio_mark` has to find something."""
    return _is_enough(_at_16_khz(samples, rate_hz))


def _is_enough(speech: FloatArray) -> bool:
    return speech.size >= LEAST_SAMPLES and _audible_s(speech) >= LEAST_AUDIBLE_S


def _audible_s(speech: FloatArray) -> float:
    blocks = speech[: speech.size // CHIP_SAMPLES * CHIP_SAMPLES].reshape(-1, CHIP_SAMPLES)
    return int(np.count_nonzero(np.abs(blocks).max(axis=1) > AUDIBLE)) * CHIP_SAMPLES / SAMPLE_RATE_HZ


def _at_16_khz(samples: FloatArray, rate_hz: int) -> FloatArray:
    """Resampled; what is not finite counts as silence."""
    samples = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    from scipy.signal import resample_poly  # 0.3 s to import, and most sound comes at 16 kHz

    divisor = gcd(rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(resample_poly(samples, SAMPLE_RATE_HZ // divisor, rate_hz // divisor), np.float32)
