"""Weights in half the memory: two bfloat16 numbers in one 32-bit word, read without unpacking one of them.

A float32 whose lower 16 bits are set to anything still has about the value that its upper 16 bits say. So a word
holds one weight in its lower half, which is shifted up before use, and one in its upper half, which is used as it
stands: its bits are chosen so that together with the lower half they come nearest to the true weight. Both are rounded
to 8 significant bits. What is read per step is the limit of autoregressive synthesis, and this halves it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]


def pack_pairs(matrix: F32) -> U32:
    """(..., outputs, inputs), outputs even -> words (..., inputs, outputs / 2).

    Word (i, j) holds the weights of output j (lower half) and output j + outputs / 2 (upper half) for input i.
    """
    half = matrix.shape[-2] // 2
    if 2 * half != matrix.shape[-2]:
        raise ValueError(f"the number of outputs must be even, got {matrix.shape[-2]}")
    across = np.swapaxes(np.ascontiguousarray(matrix, np.float32), -1, -2)
    lower, wanted = _rounded(across[..., :half]), np.ascontiguousarray(across[..., half:])
    upper = _rounded(wanted).astype(np.int64)
    best = (upper.astype(np.uint32) << np.uint32(16)) | lower
    for shift in (-1, 1):
        other = ((upper + shift).astype(np.uint32) << np.uint32(16)) | lower
        nearer = np.abs(other.view(np.float32) - wanted) < np.abs(best.view(np.float32) - wanted)
        best = np.where(nearer, other, best)
    return np.ascontiguousarray(best)


def unpack_pairs(words: U32) -> F32:
    """The weights (..., outputs, inputs) that words (..., inputs, outputs / 2) stand for."""
    lower, upper = (words << np.uint32(16)).view(np.float32), words.view(np.float32)
    return np.ascontiguousarray(np.swapaxes(np.concatenate([lower, upper], axis=-1), -1, -2))


def _rounded(values: F32) -> U32:
    """The upper 16 bits of each value rounded to bfloat16, to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint32)
