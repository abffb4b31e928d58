"""Marks the frames of a film or of a live stream with one number: the same pattern in each, as strong as each allows.

Since the pattern stands still, nothing flickers, and a search can add up frames. Of a frame only its activity is
measured, on a small copy; then one pass adds the pattern in whole numbers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from services.common.marking.known import luma_carries
from services.common.marking.shaping import mark_strength
from services.common.marking.spectrum import mark_spectrum, pattern, tile_px

Plane = NDArray[np.uint8]
UNIT_BITS: Final = 5  # fraction bits of pattern and of strength
UNIT: Final = 1 << UNIT_BITS
VIDEO_RANGE: Final = 219 / 255
SIZES_KEPT: Final = 2


class FrameMarker:
    """Writes a number into frames; may be used by several threads.

    Args:
        key: 32 bytes.
        number: 1 to 2^32 - 1.

    Raises:
        ValueError: for another key or number.
    """

    def __init__(self, key: bytes, number: int) -> None:
        self.key, self.number = key, number
        self._spectrum = mark_spectrum(key)
        self._waves = self._spectrum.waves(number)
        self._patterns: OrderedDict[tuple[int, int], NDArray[np.int8]] = OrderedDict()
        self._lock = threading.Lock()

    def mark_luma(self, luma: Plane, *, full_range: bool = False) -> None:
        """Marks a frame by its luma plane (H, W), in place."""
        height, width = luma.shape
        strength = mark_strength(luma) * (UNIT if full_range else UNIT * VIDEO_RANGE)
        _add(luma, self._pattern(height, width), _grown(strength, height, width))

    def mark_bgr(self, picture: Plane) -> None:
        """Marks a frame in BGR (H, W, 3), contiguous, in place; its colours stay."""
        height, width = picture.shape[:2]
        strength = _grown(mark_strength(picture) * UNIT, height, width)
        _add_alike(picture.reshape(height, 3 * width), self._pattern(height, width), strength)

    def is_in_bgr(self, picture: Plane) -> bool:
        """Whether a marked frame in BGR (H, W, 3) shows its mark; see `picture_carries`."""
        luma = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
        return luma_carries(luma, self._spectrum, self._waves, self.number)

    def _pattern(self, height_px: int, width_px: int) -> NDArray[np.int8]:
        """In units of 1 / UNIT."""
        size = (height_px, width_px)
        with self._lock:
            made = self._patterns.get(size)
            if made is None:
                tile = tile_px(width_px, height_px)
                exact = pattern(self._spectrum, self._waves, width_px, height_px, tile)
                made = np.clip(np.rint(UNIT * exact), -127, 127).astype(np.int8)
                self._patterns[size] = made
                while len(self._patterns) > SIZES_KEPT:
                    self._patterns.popitem(last=False)
            else:
                self._patterns.move_to_end(size)
            return made


def _grown(strength: NDArray[np.float32], height: int, width: int) -> Plane:
    units = np.clip(np.rint(strength), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(units, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@numba.njit(inline="always")
def _change(shape: Any, strength: Any) -> Any:
    """The product of both, rounded to whole levels."""
    half = np.int16(1 << 2 * UNIT_BITS - 1)
    return np.int16(np.int16(shape) * np.int16(strength) + half) >> 2 * UNIT_BITS


@numba.njit(nogil=True, cache=True)
def _add(plane: Any, shape: Any, strength: Any) -> None:
    for row in range(plane.shape[0]):
        for column in range(plane.shape[1]):
            value: Any = np.int16(plane[row, column]) + _change(shape[row, column], strength[row, column])
            plane[row, column] = np.uint8(min(max(value, 0), 255))


@numba.njit(nogil=True, cache=True)
def _add_alike(picture: Any, shape: Any, strength: Any) -> None:
    """The same change in all three values of a pixel; `picture` (H, 3 W)."""
    changes = np.empty(picture.shape[1], np.int16)
    for row in range(picture.shape[0]):
        values, shapes, strengths = picture[row], shape[row], strength[row]
        for column in range(shapes.shape[0]):
            change = _change(shapes[column], strengths[column])
            changes[3 * column] = changes[3 * column + 1] = changes[3 * column + 2] = change
        for n in range(values.shape[0]):
            value: Any = np.int16(values[n]) + changes[n]
            values[n] = np.uint8(min(max(value, 0), 255))
