"""How strongly a picture may be marked where: more where it is busy, since there the eye sees less.

Measured on the picture shrunk so that a tile has some 45 pixels, thus in the mark's own band.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.marking.spectrum import tile_px

FloatArray = NDArray[np.float32]
Pixels = NDArray[np.uint8]
FLOOR: Final = 0.8  # levels of 255, root mean square, where nothing is to be seen
SLOPE: Final = 0.5  # of the activity
CEILING: Final = 5.0
MEAN_SQUARE: Final = 1.88**2  # over the whole picture: 42.6 dB
SMALL_TILE_PX: Final = 45.0
BLUR_PX: Final = 2.0
SPREAD_PX: Final = 5  # window of the activity
AROUND_PX: Final = 9  # which must be busy all over
_AROUND: Final = np.ones((AROUND_PX, AROUND_PX), np.uint8)


def mark_strength(pixels: Pixels) -> FloatArray:
    """Root mean square of the mark in levels, on a grid smaller than the picture: its places are cells' centres.

    Args:
        pixels: luma (H, W) or BGR (H, W, 3).
    """
    height, width = pixels.shape[:2]
    shrink = max(1.0, tile_px(width, height) / SMALL_TILE_PX)
    size = (max(2, round(width / shrink)), max(2, round(height / shrink)))
    small: Any = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    small = (cv2.cvtColor(small, cv2.COLOR_BGR2GRAY) if small.ndim == 3 else small).astype(np.float32)
    detail = np.abs(small - cv2.GaussianBlur(small, (0, 0), BLUR_PX, borderType=cv2.BORDER_REFLECT))
    # the mean of roots, and the least of it around: an edge alone does not count, or else the mark would show beside it
    activity: Any = cv2.blur(np.sqrt(detail), (SPREAD_PX, SPREAD_PX), borderType=cv2.BORDER_REFLECT)
    activity = cv2.erode(activity, _AROUND, borderType=cv2.BORDER_REFLECT)
    activity = cv2.blur(activity, (SPREAD_PX, SPREAD_PX), borderType=cv2.BORDER_REFLECT)
    strength = np.minimum(FLOOR + SLOPE * activity * activity, CEILING)
    excess = float(np.dot(strength.ravel(), strength.ravel())) / (MEAN_SQUARE * strength.size)
    return np.asarray(strength * np.float32(1.0 / np.sqrt(max(excess, 1.0))), np.float32)
