"""A film's frame as a canvas: only pieces around faces are ever turned into BGR, and only what changed there back.

A change is carried over as a difference, so what nobody painted on keeps its bits. Colour is stored for squares of
2 x 2 pixels: a changed pixel counts there for a quarter. Matrices: ITU-T H.273, 8.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from services.common.film.frames import FilmFrame
from services.common.film.probe import Colour
from services.faceswap.canvas import Plane
from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray

IntArray = NDArray[np.int32]
# Matrix code point -> shares of red and blue in luma.
_SHARES: Final = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
BITS: Final = 16  # of fractions
ONE, HALF = 1 << BITS, 1 << BITS - 1
HD_HEIGHT_PX: Final = 720  # from here on BT.709 is meant where nothing is said, below BT.601


class PlanesCanvas:
    """Implements `Canvas` on a film's frame, whose planes are written to."""

    def __init__(self, frame: FilmFrame) -> None:
        self._frame = frame
        self.height, self.width = frame.luma.shape
        matrix = frame.colour.matrix if frame.colour.matrix in _SHARES else (1 if self.height >= HD_HEIGHT_PX else 6)
        self._to_bgr, self._from_bgr = _factors(matrix, frame.colour.full_range)

    def whole(self) -> Picture:
        frame = self._frame
        planar = np.concatenate([frame.luma.ravel(), frame.blue.ravel(), frame.red.ravel()])
        bgr: Any = cv2.cvtColor(planar.reshape(self.height * 3 // 2, self.width), cv2.COLOR_YUV2BGR_I420)
        return np.asarray(bgr, np.uint8)

    def luma(self) -> Plane:
        return self._frame.luma

    def cut(self, left: int, top: int, width: int, height: int) -> Picture:
        """Colour between its samples is interpolated."""
        first_x, first_y = left >> 1, top >> 1
        columns, rows = slice(first_x, (left + width + 1) >> 1), slice(first_y, (top + height + 1) >> 1)
        colour = cv2.merge([self._frame.blue[rows, columns], self._frame.red[rows, columns]])
        side_x, side_y = 2 * colour.shape[1], 2 * colour.shape[0]
        fine: Any = cv2.resize(colour, (side_x, side_y), interpolation=cv2.INTER_LINEAR)
        luma = self._frame.luma[2 * first_y : 2 * first_y + side_y, 2 * first_x : 2 * first_x + side_x]
        joined = np.empty((side_y, side_x, 3), np.uint8)
        cv2.mixChannels([np.ascontiguousarray(luma), fine], [joined], [0, 0, 1, 1, 2, 2])
        bgr: Any = cv2.transform(joined, self._to_bgr)
        return np.asarray(bgr, np.uint8)[top % 2 : top % 2 + height, left % 2 : left % 2 + width]

    def paste(self, left: int, top: int, cut: Picture, pixels: Picture, changed: NDArray[np.bool_]) -> None:
        frame = self._frame
        _paste(frame.luma, frame.blue, frame.red, left, top, self._from_bgr, cut, pixels, changed)


def warm_planes() -> None:
    """Compiles what numba compiles."""
    from services.common.film.frames import blank_frame

    canvas = PlanesCanvas(blank_frame(4, 4, 0, Colour()))
    cut = canvas.cut(0, 0, 4, 4)
    canvas.paste(0, 0, cut[:2, :2], cut[:2, :2].copy(), np.ones((2, 2), np.bool_))


@lru_cache(maxsize=16)
def _factors(matrix: int, full_range: bool) -> tuple[FloatArray, IntArray]:
    """From luma, blue-difference, red-difference and 1 to B, G, R, (3, 4).

    And what a change of B, G and R does to luma, blue-difference and red-difference, (3, 3), in units of 1 / ONE.
    """
    red, blue = _SHARES[matrix]
    luma = np.array([blue, 1.0 - red - blue, red])
    blue_difference = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - blue))
    red_difference = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - red))
    luma_range, colour_range = (255.0, 255.0) if full_range else (219.0, 224.0)
    ranges = np.array([luma_range, colour_range, colour_range]) / 255.0
    from_bgr = ranges[:, np.newaxis] * np.stack([luma, blue_difference, red_difference])
    back = np.linalg.inv(from_bgr)
    black = np.array([0.0 if full_range else 16.0, 128.0, 128.0])
    to_bgr = np.column_stack([back, -back @ black])
    return to_bgr.astype(np.float32), np.rint(ONE * from_bgr).astype(np.int32)


@numba.njit(inline="always")
def _byte(value: Any) -> Any:
    """A value in units of 1 / ONE, rounded and kept within a byte."""
    return np.uint8(min(max((value + HALF) >> BITS, 0), 255))


@numba.njit(nogil=True, cache=True)
def _paste(
    luma: Any, blue: Any, red: Any, left: int, top: int, from_bgr: Any, before: Any, after: Any, changed: Any
) -> None:
    height, width = changed.shape
    for colour_row in range(top >> 1, (top + height + 1) >> 1):
        first_y, last_y = max(2 * colour_row - top, 0), min(2 * colour_row + 2 - top, height)
        for column in range(left >> 1, (left + width + 1) >> 1):
            blues, greens, reds = np.int32(0), np.int32(0), np.int32(0)
            touched = False
            for y in range(first_y, last_y):
                for x in range(max(2 * column - left, 0), min(2 * column + 2 - left, width)):
                    if changed[y, x]:
                        touched = True
                        b = np.int32(after[y, x, 0]) - np.int32(before[y, x, 0])
                        g = np.int32(after[y, x, 1]) - np.int32(before[y, x, 1])
                        r = np.int32(after[y, x, 2]) - np.int32(before[y, x, 2])
                        change = from_bgr[0, 0] * b + from_bgr[0, 1] * g + from_bgr[0, 2] * r
                        luma[top + y, left + x] = _byte((np.int32(luma[top + y, left + x]) << BITS) + change)
                        blues, greens, reds = blues + b, greens + g, reds + r
            if touched:
                change = from_bgr[1, 0] * blues + from_bgr[1, 1] * greens + from_bgr[1, 2] * reds
                blue[colour_row, column] = _byte((np.int32(blue[colour_row, column]) << BITS) + (change >> 2))
                change = from_bgr[2, 0] * blues + from_bgr[2, 1] * greens + from_bgr[2, 2] * reds
                red[colour_row, column] = _byte((np.int32(red[colour_row, column]) << BITS) + (change >> 2))
