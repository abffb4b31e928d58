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

from services.common.audio import SAMPLE_RATE_HZ

KEY_BYTES: Final = 32
CHIP_SAMPLES: Final = 160  # 10 ms
WINDOW_SAMPLES: Final = 2 * CHIP_SAMPLES  # 20 ms: what the embedder may hold back
BANDS: Final = 16
LOW_HZ: Final = 300.0  # lower tiles hold one harmonic of a voice or none
HIGH_HZ: Final = 3_300.0  # telephone bandwidth, 5 % faster
FRAMES: Final = 128
CHIPS: Final = FRAMES * BANDS
PERIOD_S: Final = FRAMES * CHIP_SAMPLES / SAMPLE_RATE_HZ  # 1.28

NUMBER_BITS: Final = 32
SYMBOLS: Final = 3
SYMBOL_BITS: Final = NUMBER_BITS // 2
WORD_SHAPE: Final = (16, 32)  # hadamard(512) is the Kronecker product of hadamard(16) and hadamard(32)
WORD_CHIPS: Final = WORD_SHAPE[0] * WORD_SHAPE[1]
MASKS: Final = 2 ** (SYMBOL_BITS - 1) // WORD_CHIPS  # 64; one bit of the symbol is the word's sign
SYNC_CHIPS: Final = CHIPS - SYMBOLS * WORD_CHIPS  # 512


@dataclass(frozen=True, eq=False)
class Layout:
    """What a key determines.

    Attributes:
        sync: the sync chips' signs in the grid, 0 elsewhere, shape (FRAMES, BANDS).
        words: places of the chips of each symbol in the flattened grid, shape (SYMBOLS, WORD_CHIPS).
        masks: +1 or -1, shape (SYMBOLS, 16, MASKS, 32): the chips of a word are the second and the last axis.
    """

    sync: NDArray[np.float32]
    words: NDArray[np.int64]
    masks: NDArray[np.float32]


@lru_cache(maxsize=8)
def layout_of(key: bytes) -> Layout:
    """The layout that `key` determines, by SHAKE-256. Raises ValueError unless it has KEY_BYTES bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a marking key has {KEY_BYTES} bytes, not {len(key)}")
    mask_chips = SYMBOLS * MASKS * WORD_CHIPS
    stream = hashlib.shake_256(b"likeness audio mark 1" + key).digest(8 * CHIPS + (SYNC_CHIPS + mask_chips) // 8)
    order = np.argsort(np.frombuffer(stream, "<u8", CHIPS), kind="stable")
    signs = 1.0 - 2.0 * np.unpackbits(np.frombuffer(stream, np.uint8, offset=8 * CHIPS)).astype(np.float32)
    sync = np.zeros(CHIPS, np.float32)
    sync[order[:SYNC_CHIPS]] = signs[:SYNC_CHIPS]
    return Layout(
        sync=sync.reshape(FRAMES, BANDS),
        words=order[SYNC_CHIPS:].reshape(SYMBOLS, WORD_CHIPS),
        masks=signs[SYNC_CHIPS:].reshape(SYMBOLS, WORD_SHAPE[0], MASKS, WORD_SHAPE[1]),
    )


def hadamard(size: int) -> NDArray[np.float32]:
    """Sylvester's matrix of +1 and -1 with orthogonal rows, shape (size, size); size is a power of two."""
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


@lru_cache(maxsize=64)
def pattern_of(key: bytes, number: int) -> NDArray[np.float32]:
    """The mark of a number: +1 and -1, shape (FRAMES, BANDS). Raises ValueError unless 0 < number < 2**32."""
    if not 0 < number < 2**NUMBER_BITS:
        raise ValueError(f"a mark's number is from 1 to {2**NUMBER_BITS - 1}, not {number}")
    layout = layout_of(key)
    high, low = divmod(number, 2**SYMBOL_BITS)
    pattern = layout.sync.reshape(-1).copy()
    for places, masks, symbol in zip(layout.words, layout.masks, (high, low, high ^ low), strict=True):
        negative, word = divmod(symbol, MASKS * WORD_CHIPS)
        mask, row = divmod(word, WORD_CHIPS)
        pattern[places] = (1 - 2 * negative) * masks[:, mask].reshape(-1) * hadamard(WORD_CHIPS)[row]
    pattern.flags.writeable = False
    return pattern.reshape(FRAMES, BANDS)
