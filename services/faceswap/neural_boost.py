"""More pixels from a network of fixed size: a crop k times as wide is k x k crops of the network's own width.

Every k-th pixel of every k-th row is a picture of the whole face, seen through a lattice shifted by a fraction of a
pixel. The network repaints each of them, and the results are interleaved again: detail between the lattices survives
as far as the network treats them alike (polyphase decomposition, as in sub-pixel convolution, Shi et al. 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def split_phases(picture: NDArray[Any], k: int) -> NDArray[Any]:
    """(k s, k s, c) -> (k k, s, s, c); phase i * k + j begins at row i, column j."""
    size, channels = picture.shape[0] // k, picture.shape[2]
    lattices = picture.reshape(size, k, size, k, channels).transpose(1, 3, 0, 2, 4)
    return np.ascontiguousarray(lattices.reshape(k * k, size, size, channels))


def join_phases(phases: NDArray[Any], k: int) -> NDArray[Any]:
    """The inverse of `split_phases`: (k k, s, s, c) -> (k s, k s, c)."""
    _, size, _, channels = phases.shape
    lattices = phases.reshape(k, k, size, size, channels).transpose(2, 0, 3, 1, 4)
    return np.ascontiguousarray(lattices.reshape(k * size, k * size, channels))
