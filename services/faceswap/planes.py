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

    def luma(self) -> Plane:
        return self._frame.luma

    def cut(self, left: int, top: int, width: int, height: int) -> Picture:
        frame = self._frame
        result = np.empty((height, width, 3), np.uint8)
        _cut(frame.luma, frame.blue, frame.red, left, top, self._to_bgr, result)
        return result

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
def _factors(matrix: int, full_range: bool) -> tuple[FloatArray, FloatArray]:
    """To BGR: luma's offset and gain, then what red-difference adds to R, both to G, blue-difference to B.

    From BGR: what a change of B, G and R does to luma, blue-difference and red-difference, (3, 3).
    """
    red, blue = _SHARES[matrix]
    green = 1.0 - red - blue
    luma_range, colour_range = (255.0, 255.0) if full_range else (219.0, 224.0)
    gain, colour = 255.0 / luma_range, 255.0 / colour_range
    to_bgr = [
        0.0 if full_range else 16.0,
        gain,
        2 * (1 - red) * colour,
        -2 * red * (1 - red) / green * colour,
        -2 * blue * (1 - blue) / green * colour,
        2 * (1 - blue) * colour,
    ]
    luma = np.array([blue, green, red])
    blue_difference = (np.array([1.0, 0.0, 0.0]) - luma) / (2 * (1 - blue))
    red_difference = (np.array([0.0, 0.0, 1.0]) - luma) / (2 * (1 - red))
    from_bgr = np.stack([luma / gain, blue_difference / colour, red_difference / colour])
    return np.array(to_bgr, np.float32), from_bgr.astype(np.float32)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _cut(luma: Any, blue: Any, red: Any, left: int, top: int, to_bgr: Any, result: Any) -> None:
    offset, gain, red_r, red_g, blue_g, blue_b = to_bgr[0], to_bgr[1], to_bgr[2], to_bgr[3], to_bgr[4], to_bgr[5]
    height, width = result.shape[:2]
    for y in range(height):
        row, colour_row = top + y, (top + y) >> 1
        for x in range(width):
            column = (left + x) >> 1
            value = (np.float32(luma[row, left + x]) - offset) * gain + np.float32(0.5)
            u = np.float32(blue[colour_row, column]) - np.float32(128.0)
            v = np.float32(red[colour_row, column]) - np.float32(128.0)
            b, g, r = value + blue_b * u, value + red_g * v + blue_g * u, value + red_r * v
            result[y, x, 0] = np.uint8(min(max(b, np.float32(0.0)), np.float32(255.0)))
            result[y, x, 1] = np.uint8(min(max(g, np.float32(0.0)), np.float32(255.0)))
            result[y, x, 2] = np.uint8(min(max(r, np.float32(0.0)), np.float32(255.0)))


@numba.njit(nogil=True, cache=True)
def _paste(
    luma: Any, blue: Any, red: Any, left: int, top: int, from_bgr: Any, before: Any, after: Any, changed: Any
) -> None:
    height, width = changed.shape
    for colour_row in range(top >> 1, (top + height + 1) >> 1):
        for column in range(left >> 1, (left + width + 1) >> 1):
            u, v, touched = np.float32(0.0), np.float32(0.0), False
            for y in range(max(2 * colour_row - top, 0), min(2 * colour_row + 2 - top, height)):
                for x in range(max(2 * column - left, 0), min(2 * column + 2 - left, width)):
                    if not changed[y, x]:
                        continue
                    touched = True
                    b = np.float32(after[y, x, 0]) - np.float32(before[y, x, 0])
                    g = np.float32(after[y, x, 1]) - np.float32(before[y, x, 1])
                    r = np.float32(after[y, x, 2]) - np.float32(before[y, x, 2])
                    value = luma[top + y, left + x] + from_bgr[0, 0] * b + from_bgr[0, 1] * g + from_bgr[0, 2] * r
                    luma[top + y, left + x] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
                    u += from_bgr[1, 0] * b + from_bgr[1, 1] * g + from_bgr[1, 2] * r
                    v += from_bgr[2, 0] * b + from_bgr[2, 1] * g + from_bgr[2, 2] * r
            if touched:
                value = blue[colour_row, column] + u / 4
                blue[colour_row, column] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
                value = red[colour_row, column] + v / 4
                red[colour_row, column] = np.uint8(min(max(value + 0.5, 0.0), 255.0))
