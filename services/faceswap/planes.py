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
        rows, columns = slice(top >> 1, (top + height + 1) >> 1), slice(left >> 1, (left + width + 1) >> 1)
        bgr = np.empty((height, width, 3), np.uint8)
        _cut(
            self._frame.luma[top : top + height, left : left + width],
            self._frame.blue[rows, columns],
            self._frame.red[rows, columns],
            top & 1,
            left & 1,
            self._to_bgr,
            bgr.reshape(height, 3 * width),
        )
        return bgr

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
            np.ascontiguousarray(cut).reshape(height, 3 * width),
            np.ascontiguousarray(pixels).reshape(height, 3 * width),
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
def _cut(luma: Any, blue: Any, red: Any, odd_y: int, odd_x: int, to_bgr: Any, bgr: Any) -> None:
    """Rows of `bgr` (height, 3 width); the first row and column are the second of their square where `odd_...` is 1.

    A sample of colour lies in the middle of its square: the pixels around it take three quarters of it, along both
    sides, and a quarter of the next one.
    """
    height, width = luma.shape
    last, squares = blue.shape[0] - 1, blue.shape[1]
    sixteenth, three = np.float32(1 / 16), np.float32(3.0)
    b_y, b_u, b_v, b_1 = to_bgr[0, 0], to_bgr[0, 1] * sixteenth, to_bgr[0, 2] * sixteenth, to_bgr[0, 3]
    g_y, g_u, g_v, g_1 = to_bgr[1, 0], to_bgr[1, 1] * sixteenth, to_bgr[1, 2] * sixteenth, to_bgr[1, 3]
    r_y, r_u, r_v, r_1 = to_bgr[2, 0], to_bgr[2, 1] * sixteenth, to_bgr[2, 2] * sixteenth, to_bgr[2, 3]
    along_u, along_v = np.empty(squares + 2, np.float32), np.empty(squares + 2, np.float32)
    fine_u, fine_v = np.empty(2 * squares, np.float32), np.empty(2 * squares, np.float32)
    us, vs = fine_u[odd_x : odd_x + width], fine_v[odd_x : odd_x + width]
    for y in range(height):
        row = (y + odd_y) >> 1
        beside = min(max(row + 2 * ((y + odd_y) & 1) - 1, 0), last)
        blue_row, blue_beside, red_row, red_beside = blue[row], blue[beside], red[row], red[beside]
        for n in range(squares):
            along_u[n + 1] = three * np.float32(blue_row[n]) + np.float32(blue_beside[n])
            along_v[n + 1] = three * np.float32(red_row[n]) + np.float32(red_beside[n])
        along_u[0], along_v[0] = along_u[1], along_v[1]
        along_u[squares + 1], along_v[squares + 1] = along_u[squares], along_v[squares]
        for n in range(squares):
            fine_u[2 * n] = three * along_u[n + 1] + along_u[n]
            fine_u[2 * n + 1] = three * along_u[n + 1] + along_u[n + 2]
            fine_v[2 * n] = three * along_v[n + 1] + along_v[n]
            fine_v[2 * n + 1] = three * along_v[n + 1] + along_v[n + 2]
        here, out = luma[y], bgr[y]
        for x in range(width):
            light = np.float32(here[x])
            out[3 * x] = _byte(b_y * light + b_u * us[x] + b_v * vs[x] + b_1)
            out[3 * x + 1] = _byte(g_y * light + g_u * us[x] + g_v * vs[x] + g_1)
            out[3 * x + 2] = _byte(r_y * light + r_u * us[x] + r_v * vs[x] + r_1)


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
        old, new = before[y], after[y]
        for x in range(width):
            counted = np.float32(counts[x])
            b = (np.float32(new[3 * x]) - np.float32(old[3 * x])) * counted
            g = (np.float32(new[3 * x + 1]) - np.float32(old[3 * x + 1])) * counted
            r = (np.float32(new[3 * x + 2]) - np.float32(old[3 * x + 2])) * counted
            here[x] = _byte(np.float32(here[x]) + (luma_b * b + luma_g * g + luma_r * r))
            inner_blues[x] = inner_blues[x] * kept + (blue_b * b + blue_g * g + blue_r * r)
            inner_reds[x] = inner_reds[x] * kept + (red_b * b + red_g * g + red_r * r)
        if second or y == height - 1:
            row = (y + odd_y) >> 1
            blue_row, red_row = blue[row], red[row]
            for n in range(squares):
                blue_row[n] = _byte(np.float32(blue_row[n]) + (blues[2 * n] + blues[2 * n + 1]))
                red_row[n] = _byte(np.float32(red_row[n]) + (reds[2 * n] + reds[2 * n + 1]))
