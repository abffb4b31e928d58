"""Where a network wants a face to be: crops aligned by five points, taken from the 468 of the mesh."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.detector import Picture
from services.faceswap.geometry import Points, fit_similarity
from services.faceswap.litert import FloatArray
from services.faceswap.template import LEFT_EYE, MOUTH_LEFT, MOUTH_RIGHT, RIGHT_EYE

Matrix = NDArray[np.float64]  # (2, 3), maps pixels of a picture to pixels of a crop
Layout = Literal["arcface", "ffhq"]

NOSE_POINT: Final = 4
PREFILTER_FROM: Final = 2.0  # a face this many times larger than the crop is reduced first, so that nothing aliases

# Right eye, left eye, nose, right and left corner of the mouth, on the left of the picture first.
_ARCFACE_112: Final = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041),
)  # fmt: skip
_FFHQ_512: Final = (
    (192.98138, 239.94708), (318.90277, 240.19360), (256.63416, 314.01935), (201.26117, 371.41043),
    (313.08905, 371.15118),
)  # fmt: skip


def five_points(points: Points) -> FloatArray:
    """Right eye, left eye, nose, right and left corner of the mouth (5, 2), of a mesh (468, 3)."""
    flat = np.asarray(points, np.float32)[:, :2]
    eyes = [flat[list(ring)].mean(axis=0) for ring in (RIGHT_EYE, LEFT_EYE)]
    return np.stack([*eyes, flat[NOSE_POINT], flat[MOUTH_RIGHT], flat[MOUTH_LEFT]])


def layout_points(size: int, layout: Layout = "arcface") -> FloatArray:
    """Where the five points lie in a crop of `size` pixels (5, 2).

    ArcFace's template is 112 wide. Sizes that are multiples of 112 scale it; all others, the multiples of 128 among
    them, scale the template of 128 pixels, in which it has moved 8 to the right.
    """
    if layout == "ffhq":
        return np.asarray(_FFHQ_512, np.float32) * (size / 512)
    if size % 112 == 0:
        return np.asarray(_ARCFACE_112, np.float32) * (size / 112)
    return (np.asarray(_ARCFACE_112, np.float32) + np.array([8.0, 0.0], np.float32)) * (size / 128)


def alignment(five: FloatArray, size: int, layout: Layout = "arcface") -> Matrix:
    """The similarity (2, 3) that brings five points (5, 2) of a picture to their places in the crop (Umeyama 1991)."""
    fit = fit_similarity(np.asarray(five, np.float64), layout_points(size, layout).astype(np.float64))
    return np.column_stack([fit.scale * fit.rotation, fit.shift])


def magnified(matrix: Matrix, factor: int) -> Matrix:
    """The same crop with `factor` times as many pixels a side, each old pixel centred on its new ones."""
    larger = matrix * factor
    larger[:, 2] += (factor - 1) / 2
    return larger


def crop(picture: Picture, matrix: Matrix, size: int) -> Picture:
    """The aligned crop (size, size, 3), black where the picture ends."""
    shrink = 1.0 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink >= PREFILTER_FROM:
        picture, matrix = _reduced(picture, matrix, size, shrink)
    return np.asarray(cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def _reduced(picture: Picture, matrix: Matrix, size: int, shrink: float) -> tuple[Picture, Matrix]:
    """The part of the picture that the crop shows, made smaller by whole averages, and the matrix from there."""
    back = cv2.invertAffineTransform(matrix)
    corners = np.array([[-1.0, -1.0], [size, -1.0], [size, size], [-1.0, size]]) @ back[:, :2].T + back[:, 2]
    height, width = picture.shape[:2]
    step = int(shrink)
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, low + 1, [width, height])
    cells = np.maximum((high - low) // step, 1)
    high = np.minimum(low + cells * step, [width, height])
    part = picture[low[1] : high[1], low[0] : high[0]]
    small = cv2.resize(part, (int(cells[0]), int(cells[1])), interpolation=cv2.INTER_AREA)
    scale = (high - low) / cells  # pixels of the picture in one of `small`
    moved = np.array(matrix)
    moved[:, :2] = matrix[:, :2] * scale
    moved[:, 2] = matrix[:, 2] + matrix[:, :2] @ (low + (scale - 1) / 2)
    return np.asarray(small, np.uint8), moved
