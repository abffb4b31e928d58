"""White noise that is a pure function of seed and sample position, so that no chunking can change it."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


@numba.njit(inline="always")
def mix_bits(value: Any) -> Any:
    """SplitMix64's finaliser (Steele et al. 2014): 64 well-mixed bits of a uint64."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(inline="always")
def hash_position(seed: Any, position: Any) -> Any:
    """64 random bits of a stream's seed and a position in it, both uint64."""
    return mix_bits(mix_bits(seed + np.uint64(0x9E3779B97F4A7C15)) + position * np.uint64(0x9E3779B97F4A7C15))


@numba.njit(inline="always")
def gaussian(bits: Any) -> float:
    """Nearly normal, mean 0, variance 1: the sum of four 16-bit uniform numbers (bounded by +-3.5)."""
    mask = np.uint64(0xFFFF)
    total = (
        np.float64(bits & mask)
        + np.float64((bits >> np.uint64(16)) & mask)
        + np.float64((bits >> np.uint64(32)) & mask)
        + np.float64(bits >> np.uint64(48))
    )
    return (total * (1.0 / 65535.0) - 2.0) * 1.7320508075688772
