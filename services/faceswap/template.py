"""The mesh's fixed knowledge: mean face, mirror pairs, triangles, and which points belong to which feature.

`template.npz` is made by `make_template.py`. Coordinates of the template: x to the right of the picture, y down,
z away from the viewer, origin between the outer eye corners, which are 1 apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.faceswap.litert import FloatArray

IndexArray = NDArray[np.int32]

TEMPLATE_FILE: Final = Path(__file__).with_name("template.npz")

# Closed rings of points, in the order of a walk around them. "Right" is the person's own right.
FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_EYE: Final = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE: Final = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
INNER_LIPS: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
OUTER_LIPS: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
RIGHT_BROW: Final = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW: Final = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE_OUTLINE: Final = (1, 2, 4, 5, 6, 168, 195, 197, 48, 64, 98, 278, 294, 327)

CHIN, FOREHEAD, NOSE_TIP = 152, 10, 1
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263
UPPER_LIP_INNER, LOWER_LIP_INNER = 13, 14
MOUTH_RIGHT, MOUTH_LEFT = 61, 291


@dataclass(frozen=True)
class Template:
    """Mean face (468, 3), mirror image of every point (468,), triangles in three groups, each (n, 3)."""

    points: FloatArray
    mirror: IndexArray
    skin: IndexArray
    eyes: IndexArray  # inside the eyelids
    mouth: IndexArray  # between the lips

    @property
    def triangles(self) -> IndexArray:
        """All of them: skin first, then eyes, then mouth."""
        return np.concatenate([self.skin, self.eyes, self.mouth])


@lru_cache(maxsize=1)
def template() -> Template:
    """The template, read once."""
    with np.load(TEMPLATE_FILE, allow_pickle=False) as stored:
        points, mirror, triangles = stored["points"], stored["mirror"], stored["triangles"]
    in_mouth = np.isin(triangles, INNER_LIPS).all(axis=1)
    in_eyes = np.isin(triangles, RIGHT_EYE).all(axis=1) | np.isin(triangles, LEFT_EYE).all(axis=1)
    return Template(points, mirror, triangles[~in_mouth & ~in_eyes], triangles[in_eyes], triangles[in_mouth])
