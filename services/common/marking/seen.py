"""A picture as the search for marks sees it: small, freed of what it shows itself as far as that goes.

Pictures are strong where waves are long: each is weighted by its frequency (the inverse of what pictures usually hold),
then every neighbourhood is brought to the same loudness, so that no edge outshouts the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.marking.spectrum import ComplexArray, FloatArray, MarkSpectrum, rolling

Plane = NDArray[np.uint8]
SHORTER_PX: Final = 360  # of the picture that is searched
ROLL_OFF: Final = 0.4  # waves per pixel: beyond is nothing of the mark
LOUDNESS_PX: Final = 2.0
QUIET: Final = 0.35  # levels: what is quieter is not made louder
LOUDEST: Final = 2.5


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """`residual` (h, w); one of its pixels is `shrink` pixels of the picture, along x and y."""

    residual: FloatArray
    shrink: tuple[float, float]


def see(luma: Plane, shorter_px: int = SHORTER_PX) -> SeenPicture:
    """Luma (H, W), full or video range, made ready; one smaller than `shorter_px` keeps its size."""
    height, width = luma.shape
    scale = min(1.0, shorter_px / min(width, height))
    size = (_even_px(width * scale), _even_px(height * scale))
    small: Any = cv2.resize(luma, size, interpolation=cv2.INTER_AREA) if size != (width, height) else luma
    return SeenPicture(evened(_weighted(small.astype(np.float32))), (width / size[0], height / size[1]))


def _even_px(length: float) -> int:
    """The transform wants even sides."""
    return max(8, 2 * round(length / 2))


def _weighted(small: FloatArray) -> FloatArray:
    height, width = small.shape
    frequency = np.hypot(np.arange(height)[:, np.newaxis] / (2 * height), np.arange(width) / (2 * width))
    weight = frequency / (1.0 + (frequency / ROLL_OFF) ** 8)
    return np.asarray(cv2.idct(cv2.dct(small) * weight.astype(np.float32)), np.float32)


def evened(weighted: FloatArray) -> FloatArray:
    """Every neighbourhood brought to the same loudness, and what still stands out clipped."""
    loudness = cv2.GaussianBlur(weighted * weighted, (0, 0), LOUDNESS_PX, borderType=cv2.BORDER_REFLECT)
    even = weighted / np.sqrt(loudness + (QUIET / 4) ** 2)
    return np.asarray(np.clip(even, -LOUDEST, LOUDEST), np.float32)


def waves_seen(residual: FloatArray, reach: int, tile_x: float, tile_y: float) -> ComplexArray:
    """What the picture holds of each wave if a tile has these sides in its pixels: (2 reach + 1, reach + 1).

    Phases count from the picture's centre. Waves too short for the pixels are given as 0.
    """
    height, width = residual.shape
    x, y = np.arange(reach + 1, dtype=np.int32), np.arange(-reach, reach + 1, dtype=np.int32)
    across, down = rolling(tile_x, width, x, width / 2), rolling(tile_y, height, y, height / 2)
    columns = residual @ np.concatenate([across.real, -across.imag], axis=1)
    sums = down.conj().T @ (columns[:, : reach + 1] + 1j * columns[:, reach + 1 :])
    sums[np.hypot(y[:, np.newaxis] / tile_y, x / tile_x) > 0.45] = 0
    return np.asarray(sums, np.complex64)


def expected(spectrum: MarkSpectrum, table: ComplexArray) -> ComplexArray:
    """The spectrum's waves, (n,), out of a table of all."""
    return np.asarray(table[spectrum.y + spectrum.reach, spectrum.x], np.complex64)
