"""A mark's 32-bit number as 168 signs that bear many errors, and back.

Number, CRC-24 (RFC 9580, 6.1: the generator), then a tail-biting convolutional code of rate 1/3 and constraint length 9
(generators 557, 663, 711, octal). A wrong word passes the check once in 2^24.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
NUMBER_BITS: Final = 32
CHECK_BITS: Final = 24
WORD_BITS: Final = NUMBER_BITS + CHECK_BITS
MEMORY_BITS: Final = 8
STATES: Final = 1 << MEMORY_BITS
GENERATORS: Final = (0o557, 0o663, 0o711)
CODE_SIGNS: Final = WORD_BITS * len(GENERATORS)
WRAPS: Final = 3  # times around the ring: the middle one has settled on both sides
_CRC_GENERATOR: Final = 0x1864CFB
_CRC_START: Final = 0xB704CE


def encode_number(number: int) -> FloatArray:
    """The code word's signs, (168,), -1 or 1.

    Raises:
        ValueError: unless the number lies between 1 and 2^32 - 1.
    """
    if not 0 < number < 1 << NUMBER_BITS:
        raise ValueError(f"a mark's number lies between 1 and 2^32 - 1, got {number}")
    word = number << CHECK_BITS | _check(number)
    bits = [word >> (WORD_BITS - 1 - place) & 1 for place in range(WORD_BITS)]
    state = 0
    for bit in bits[-MEMORY_BITS:]:
        state = (state << 1 | bit) & (STATES - 1)
    signs = []
    for bit in bits:
        signs += _SIGNS[state, bit].tolist()
        state = (state << 1 | bit) & (STATES - 1)
    return np.asarray(signs, np.float32)


def decode_number(soft: FloatArray) -> int | None:
    """The number whose word is nearest to the soft signs (168,), or None when no word passes the check."""
    bits = _nearest(np.ascontiguousarray(soft, np.float32).reshape(WORD_BITS, len(GENERATORS)), _SIGNS)
    word = int("".join(map(str, bits.tolist())), 2)
    number = word >> CHECK_BITS
    return number if number and word & ((1 << CHECK_BITS) - 1) == _check(number) else None


def _check(number: int) -> int:
    register = _CRC_START
    for byte in number.to_bytes(NUMBER_BITS // 8, "big"):
        register ^= byte << 16
        for _ in range(8):
            register <<= 1
            if register >> CHECK_BITS:
                register ^= _CRC_GENERATOR
    return register


def _signs() -> FloatArray:
    """What leaves the encoder, (states, bit, 3)."""
    window = np.arange(STATES)[:, np.newaxis] << 1 | np.arange(2)
    parities = [np.bitwise_count(window & generator) & 1 for generator in GENERATORS]
    return np.stack(parities, axis=-1).astype(np.float32) * 2 - 1


_SIGNS: Final = _signs()


@numba.njit(nogil=True, cache=True)
def _nearest(soft: Any, signs: Any) -> Any:
    """Viterbi's algorithm around the ring; the bits (56,) of its middle round."""
    length, steps = soft.shape[0], WRAPS * soft.shape[0]
    metric, following = np.zeros(STATES, np.float32), np.empty(STATES, np.float32)
    came_from = np.empty((steps, STATES), np.uint8)
    for step in range(steps):
        a, b, c = soft[step % length]
        for state in range(STATES):
            bit, low, high = state & 1, state >> 1, (state >> 1) + STATES // 2
            to_low = metric[low] + a * signs[low, bit, 0] + b * signs[low, bit, 1] + c * signs[low, bit, 2]
            to_high = metric[high] + a * signs[high, bit, 0] + b * signs[high, bit, 1] + c * signs[high, bit, 2]
            came_from[step, state] = to_high > to_low
            following[state] = max(to_low, to_high)
        metric, following = following, metric
    state = int(np.argmax(metric))
    bits = np.empty(length, np.uint8)
    for step in range(steps - 1, -1, -1):
        if length <= step < 2 * length:
            bits[step - length] = state & 1
        state = (state >> 1) + (STATES // 2 if came_from[step, state] else 0)
    return bits
