"""Reads numbers from folded tiles, and says how likely chance alone would give what was read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.marking.audio_layout import (
    CHIPS,
    FRAMES,
    MASKS,
    SYMBOL_BITS,
    SYMBOLS,
    WORD_SHAPE,
    Layout,
    hadamard,
)
from services.common.marking.audio_tiles import Folded

LISTED: Final = 16  # best words of a symbol that are tried together with those of another


def agreement(folded: Folded, pattern: NDArray[np.float32]) -> NDArray[np.float32]:
    """Statistic of a pattern (FRAMES, BANDS), zero where it does not say, at every frame where it may begin.

    Args:
        folded: (..., FRAMES, BANDS).

    Returns:
        (..., FRAMES): sums of tiles times signs over the root of the sum of as many tiles' squares. For random signs
        its mean is 0 and its variance 1; exactly so where the pattern says something of every tile.
    """
    spectrum = np.fft.rfft(folded, axis=-2) * np.fft.rfft(pattern, axis=0).conj()
    product = np.fft.irfft(spectrum.sum(axis=-1), FRAMES)
    energy = np.square(folded).sum(axis=(-1, -2)) * (np.count_nonzero(pattern) / pattern.size)
    return np.asarray(product / np.sqrt(energy + 1e-9)[..., None], np.float32)


@lru_cache(maxsize=1)
def _factors() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return hadamard(WORD_SHAPE[0]), hadamard(WORD_SHAPE[1])


@dataclass(frozen=True)
class Read:
    """A number, the statistic of its pattern, and that of the best other number's."""

    number: int
    statistic: float
    second: float


def read_number(folded: Folded, layout: Layout, least: float = 0.0) -> Read | None:
    """The number whose pattern fits tiles (FRAMES, BANDS) best, the pattern beginning at frame 0.

    Of every symbol the best LISTED words are tried with those of another symbol; the third symbol follows from them.
    None if no statistic can reach `least`.
    """
    tiles = folded.reshape(CHIPS)
    sync, norm = float((folded * layout.sync).sum()), float(np.linalg.norm(tiles)) + 1e-9
    left, right = _factors()
    signed = tiles[layout.words].reshape(SYMBOLS, WORD_SHAPE[0], 1, WORD_SHAPE[1]) * layout.masks
    words = left @ (signed.reshape(-1, WORD_SHAPE[1]) @ right).reshape(SYMBOLS, WORD_SHAPE[0], -1)
    if sync + float(np.abs(words).max(axis=(1, 2)).sum()) < least * norm:
        return None
    by_symbol = words.reshape(SYMBOLS, WORD_SHAPE[0], MASKS, WORD_SHAPE[1]).transpose(0, 2, 1, 3).reshape(SYMBOLS, -1)
    fits = [np.concatenate([fit, -fit]) for fit in by_symbol]
    best = [np.argpartition(-fit, LISTED)[:LISTED] for fit in fits]
    totals, numbers = [], []
    for first, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        one, other = np.broadcast_arrays(best[first][:, None], best[second][None])
        totals.append(fits[first][one] + fits[second][other] + fits[third][one ^ other])
        high, low = {0: (one, other), 1: (one ^ other, one), 2: (other, one ^ other)}[first]
        numbers.append(high << SYMBOL_BITS | low)
    total, number = np.concatenate(totals, axis=None), np.concatenate(numbers, axis=None)
    winner = int(number[total.argmax()])
    others = float(total[number != winner].max())
    return Read(winner, (sync + float(total.max())) / norm, (sync + others) / norm)


def chance_of(statistic: float, trials: float) -> float:
    """Bound on the probability that the largest of `trials` statistics of random signs reaches `statistic`.

    Bentkus and Dzindzalieta (2015): a normalised sum of independent random signs exceeds t with at most 3.18 times the
    probability of a normal variable. The signs are random since the key is; the sound may be anything.
    """
    return min(1.0, trials * 3.18 * 0.5 * math.erfc(statistic / math.sqrt(2.0)))


@lru_cache(maxsize=256)
def statistic_for(chance: float, trials: float) -> float:
    """The statistic at which `chance_of` falls to `chance`."""
    low, high = 0.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_of(middle, trials) > chance else (low, middle)
    return high
