"""The median, without what `np.median` spends on cases that do not occur here: a third of its time for a face."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def median(values: NDArray[Any]) -> NDArray[Any]:
    """The median along the first axis of finite numbers (n, ...), n at least 1."""
    half = len(values) // 2
    if len(values) % 2:
        return np.asarray(np.partition(values, half, axis=0)[half])
    parted = np.partition(values, (half - 1, half), axis=0)
    return np.asarray((parted[half - 1] + parted[half]) / 2)
