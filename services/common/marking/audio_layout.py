"""Where an audio mark's bits lie: a grid of time-frequency tiles ("chips"), scattered and signed by the key.

A mark is a pattern of +1 and -1 over FRAMES x BANDS tiles that repeats every PERIOD_S seconds. A fixed part (the sync
chips) tells where the pattern begins; the others carry the number as three symbols of 16 bits, the third being the
exclusive or of the first two, so that any two of them determine the number. A symbol is sent as one of 65,536 almost
orthogonal words of WORD_CHIPS chips: a row of a Hadamard matrix or its negative, times one of MASKS masks drawn from
the key. Without the key every word is a random sequence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

from services.common.audio import SAMPLE_RATE_HZ

KEY_BYTES: Final = 32
CHIP_SAMPLES: Final = 320  # 20 ms
WINDOW_SAMPLES: Final = 2 * CHIP_SAMPLES  # 40 ms: what the embedder may hold back
BANDS: Final = 24
LOW_HZ: Final = 300.0  # below the pitch of many voices a tile holds one harmonic or none; above, telephone codecs cut
HIGH_HZ: Final = 3_300.0
FRAMES: Final = 80
CHIPS: Final = FRAMES * BANDS
PERIOD_S: Final = FRAMES * CHIP_SAMPLES / SAMPLE_RATE_HZ  # 1.6

SYMBOLS: Final = 3
SYMBOL_BITS: Final = 16
WORD_CHIPS: Final = 512
MASKS: Final = 2 ** (SYMBOL_BITS - 1) // WORD_CHIPS  # 64; one bit of the symbol is the word's sign
SYNC_CHIPS: Final = CHIPS - SYMBOLS * WORD_CHIPS


@dataclass(frozen=True, eq=False)
class Layout:
    """What a key determines.

    Attributes:
        sync: (SYNC_CHIPS,) places of the sync chips in the flattened (FRAMES, BANDS) grid.
        sync_signs: (SYNC_CHIPS,) +1 or -1.
        words: (SYMBOLS, WORD_CHIPS) places of the chips of each symbol.
        masks: (SYMBOLS, MASKS, WORD_CHIPS) +1 or -1.
        start: the frame of the pattern with which a mark begins.
    """

    sync: NDArray[np.int64]
    sync_signs: NDArray[np.float32]
    words: NDArray[np.int64]
    masks: NDArray[np.float32]


@lru_cache(maxsize=8)
def layout_of(key: bytes) -> Layout:
    """The layout that `key`, 32 secret bytes, determines, by SHAKE-256."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a marking key has {KEY_BYTES} bytes, not {len(key)}")
    mask_chips = SYMBOLS * MASKS * WORD_CHIPS
    stream = hashlib.shake_256(b"likeness audio mark 1" + key).digest(8 * CHIPS + (SYNC_CHIPS + mask_chips) // 8)
    order = np.argsort(np.frombuffer(stream, "<u8", CHIPS), kind="stable")
    bits = np.unpackbits(np.frombuffer(stream, np.uint8, offset=8 * CHIPS))
    signs = 1.0 - 2.0 * bits.astype(np.float32)
    return Layout(
        sync=order[:SYNC_CHIPS],
        sync_signs=signs[:SYNC_CHIPS],
        words=order[SYNC_CHIPS:].reshape(SYMBOLS, WORD_CHIPS),
        masks=signs[SYNC_CHIPS:].reshape(SYMBOLS, MASKS, WORD_CHIPS),
    )


def symbols_of(number: int) -> tuple[int, int, int]:
    """The three symbols of a 32-bit number."""
    high, low = number >> SYMBOL_BITS, number & (2**SYMBOL_BITS - 1)
    return high, low, high ^ low


@lru_cache(maxsize=1)
def _rows() -> NDArray[np.float32]:
    return np.asarray(hadamard(WORD_CHIPS), np.float32)


def pattern_of(key: bytes, number: int) -> NDArray[np.float32]:
    """The mark of a number: +1 and -1, shape (FRAMES, BANDS)."""
    if not 0 < number < 2**32:
        raise ValueError(f"a mark's number is from 1 to {2**32 - 1}, not {number}")
    layout = layout_of(key)
    pattern = np.empty(CHIPS, np.float32)
    pattern[layout.sync] = layout.sync_signs
    for places, masks, symbol in zip(layout.words, layout.masks, symbols_of(number), strict=True):
        row, mask, negative = symbol % WORD_CHIPS, symbol // WORD_CHIPS % MASKS, symbol >> (SYMBOL_BITS - 1)
        pattern[places] = (1 - 2 * negative) * masks[mask] * _rows()[row]
    return pattern.reshape(FRAMES, BANDS)
