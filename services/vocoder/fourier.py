"""A small power-of-two FFT inside numba, so that a frame is rendered without going back to Python."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

ComplexArray = NDArray[np.complex128]


def twiddles(size: int) -> ComplexArray:
    """Roots of unity of a forward transform of `size` (a power of two), shape (size / 2,)."""
    roots: ComplexArray = np.exp(-2j * np.pi * np.arange(size // 2) / size)
    return roots


@numba.njit(cache=True)
def fft_in_place(values: ComplexArray, roots: ComplexArray) -> None:
    """Forward DFT of `values`, shape (size,), in place; `roots` are `twiddles(size)`. Cooley-Tukey, radix 2."""
    size = values.size
    j = 0
    for i in range(1, size):
        bit = size >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            values[i], values[j] = values[j], values[i]
    half = 1
    while half < size:
        stride = size // (2 * half)
        for start in range(0, size, 2 * half):
            for k in range(half):
                odd = values[start + k + half] * roots[k * stride]
                even = values[start + k]
                values[start + k] = even + odd
                values[start + k + half] = even - odd
        half *= 2
