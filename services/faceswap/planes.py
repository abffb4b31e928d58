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

    def luma(self, every: int = 1) -> Plane:
        return self._frame.luma[::every, ::every]

    def cut(self, left: int, top: int, width: int, height: int) -> Picture:
        """Colour between its samples is interpolated."""
        first_x, first_y = left >> 1, top >> 1
        columns, rows = slice(first_x, (left + width + 1) >> 1), slice(first_y, (top + height + 1) >> 1)
        side_x, side_y = 2 * (columns.stop - first_x), 2 * (rows.stop - first_y)
        fine = [
            cv2.resize(plane[rows, columns], (side_x, side_y), interpolation=cv2.INTER_LINEAR)
            for plane in (self._frame.blue, self._frame.red)
        ]
        luma = self._frame.luma[2 * first_y : 2 * first_y + side_y, 2 * first_x : 2 * first_x + side_x]
        joined = cv2.merge([luma, *fine])
        bgr: Any = cv2.transform(joined, self._to_bgr)
        return np.asarray(bgr, np.uint8)[top % 2 : top % 2 + height, left % 2 : left % 2 + width]

    def paste(self, left: int, top: int, cut: Picture, pixels: Picture, changed: NDArray[np.bool_]) -> None:
        frame, (height, width) = self._frame, changed.shape
        rows, columns = slice(top >> 1, (top + height + 1) >> 1), slice(left >> 1, (left + width + 1) >> 1)
        _paste(
            frame.luma[top : top + height, left : left + width],
            frame.blue[rows, columns],
            frame.red[rows, columns],
            top & 1,
            left & 1,
            self._from_bgr,
            cv2.split(cut),
            cv2.split(pixels),
            np.ascontiguousarray(changed),
        )


def warm_planes() -> None:
    """Compiles what numba compiles."""
    from services.common.film.frames import blank_frame

    canvas = PlanesCanvas(blank_frame(16, 16, 0, Colour()))
    cut = canvas.cut(0, 0, 8, 8)
    canvas.paste(0, 0, cut, cut.copy(), np.ones((8, 8), np.bool_))


@lru_cache(maxsize=16)
def _factors(matrix: int, full_range: bool) -> tuple[FloatArray, FloatArray]:
    """From luma, blue-difference, red-difference and 1 to B, G, R, (3, 4).

    And what a change of B, G and R does to luma, blue-difference and red-difference, (3, 3).
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
    return to_bgr.astype(np.float32), from_bgr.astype(np.float32)


@numba.njit(inline="always")
def _byte(value: Any) -> Any:
    """A value, not negative by much, rounded and kept within a byte."""
    return np.uint8(np.int32(min(max(value + np.float32(0.5), np.float32(0.0)), np.float32(255.0))))


@numba.njit(nogil=True, cache=True, fastmath=True)
def _paste(
    luma: Any, blue: Any, red: Any, odd_y: int, odd_x: int, from_bgr: Any, before: Any, after: Any, changed: Any
) -> None:
    """All on the rectangle alone; its first row and column are the second of their square where `odd_...` is 1."""
    height, width = changed.shape
    quarter = np.float32(0.25)
    luma_b, luma_g, luma_r = from_bgr[0, 0], from_bgr[0, 1], from_bgr[0, 2]
    blue_b, blue_g, blue_r = from_bgr[1, 0] * quarter, from_bgr[1, 1] * quarter, from_bgr[1, 2] * quarter
    red_b, red_g, red_r = from_bgr[2, 0] * quarter, from_bgr[2, 1] * quarter, from_bgr[2, 2] * quarter
    squares = blue.shape[1]
    blues, reds = np.zeros(2 * squares, np.float32), np.zeros(2 * squares, np.float32)
    inner_blues, inner_reds = blues[odd_x : odd_x + width], reds[odd_x : odd_x + width]
    for y in range(height):
        second = (y + odd_y) & 1
        kept = np.float32(second)
        here, counts = luma[y], changed[y]
        b0, g0, r0 = before[0][y], before[1][y], before[2][y]
        b1, g1, r1 = after[0][y], after[1][y], after[2][y]
        for x in range(width):
            counted = np.float32(counts[x])
            b = (np.float32(b1[x]) - np.float32(b0[x])) * counted
            g = (np.float32(g1[x]) - np.float32(g0[x])) * counted
            r = (np.float32(r1[x]) - np.float32(r0[x])) * counted
            here[x] = _byte(np.float32(here[x]) + (luma_b * b + luma_g * g + luma_r * r))
            inner_blues[x] = inner_blues[x] * kept + (blue_b * b + blue_g * g + blue_r * r)
            inner_reds[x] = inner_reds[x] * kept + (red_b * b + red_g * g + red_r * r)
        if second or y == height - 1:
            row = (y + odd_y) >> 1
            blue_row, red_row = blue[row], red[row]
            for n in range(squares):
                blue_row[n] = _byte(np.float32(blue_row[n]) + (blues[2 * n] + blues[2 * n + 1]))
                red_row[n] = _byte(np.float32(red_row[n]) + (reds[2 * n] + reds[2 * n + 1]))
