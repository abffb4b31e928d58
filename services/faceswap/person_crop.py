"""How a person model sees a face: a square crop aligned by the parts of the mesh that the mouth does not move."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.faceswap.geometry import Points, fit_similarity
from services.faceswap.litert import FloatArray
from services.faceswap.neural_align import Matrix
from services.faceswap.template import FACE_OVAL, template

CENTRE: Final = (0.0, 0.30)  # of the crop, in the template: outer eye corners are 1 apart, y grows downwards
HALF_SIDE: Final = 1.08  # of the crop, there; the mean face reaches 0.77 to the sides, 0.91 up and down
STILL_ABOVE: Final = 0.45  # points of the template below this line move with the mouth


def person_alignment(points: Points, size: int, reach: float = 1.0) -> Matrix:
    """The similarity (2, 3) from a picture with mesh `points` (468, 3) to a crop of `size` pixels.

    Args:
        reach: side of the crop in multiples of what the network sees.
    """
    still = _still_points()
    fit = fit_similarity(np.asarray(points, np.float64)[still, :2], _template_places(size, reach)[still])
    return np.column_stack([fit.scale * fit.rotation, fit.shift])


def crop_outline(points: Points, matrix: Matrix) -> FloatArray:
    """The face's outline (36, 2) in pixels of the crop."""
    oval = np.asarray(points, np.float64)[list(FACE_OVAL), :2]
    return np.asarray(oval @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _template_places(size: int, reach: float) -> NDArray[np.float64]:
    """Where the template's points lie in a crop (468, 2); whole numbers are centres of pixels."""
    scale = size / (2.0 * HALF_SIDE * reach)
    return (template().points[:, :2].astype(np.float64) - CENTRE) * scale + (size - 1) / 2


@lru_cache(maxsize=1)
def _still_points() -> NDArray[np.int64]:
    return np.flatnonzero(template().points[:, 1] < STILL_ABOVE)
