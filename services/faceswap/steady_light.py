"""Light that does not flicker from frame to frame: found in every fourth frame of a film, and followed slowly.

What is remembered lies on the chart (`chart.py`), so that it moves with the face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from services.faceswap.chart import Laid
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray

KEY: Final = "light"
EVERY: Final = 4  # frames; an even number, so that it stays out of those in which occluders are looked for
FIRST_AGE: Final = 2
FOLLOW: Final = 0.5  # share of what is found anew in what is remembered
FLASH: Final = 0.08  # natural logarithm: when the face's brightness changes by more, light is found at once
JUMP: Final = 0.35  # the same of the light itself: a lamp was switched, and what is remembered holds no longer
SEEN_FULLY: Final = 0.3  # cosine to the viewer: what is turned away further says little of its light
LEAST_FACTOR: Final = 1e-3


@dataclass(eq=False)
class Remembered:
    """Logarithms of factors (SIDE, SIDE, 3), of the face's brightness when they were found, and frames since."""

    texels: FloatArray
    level: float
    age: int


def steady_light(find: Callable[[], FloatArray], small: Picture, laid: Laid, memory: Memory | None) -> FloatArray:
    """Factors of light (small height, small width, 3), in a film smoothed in time; 1 outside of the mesh.

    Args:
        find: gives the factors of this frame; what a picture, which has no memory, gets as they are.
        small: the reduced picture of `laid`, BGR.
        memory: of this face; changed.
    """
    if memory is None:
        return find()
    level = float(np.log(np.mean(cv2.mean(small, laid.covered.view(np.uint8))[:3]) + 1.0))
    known: Remembered | None = memory.values.get(KEY)
    if known is not None and known.age < EVERY and abs(level - known.level) < FLASH:
        known.age += 1
    else:
        current = np.log(np.maximum(laid.unroll(find()), LEAST_FACTOR))
        if known is None:
            known = Remembered(current, level, FIRST_AGE)
        else:
            known = Remembered(_followed(known.texels, current, laid), level, 1)
        memory.values[KEY] = known
    return np.exp(laid.roll(known.texels))


def _followed(before: FloatArray, current: FloatArray, laid: Laid) -> FloatArray:
    seen = np.clip(laid.facing / SEEN_FULLY, 0.0, 1.0)[:, :, np.newaxis]
    change = current - before
    jump = float(np.abs((seen * change).sum(axis=(0, 1)) / max(float(seen.sum()), 1e-6)).max())
    followed: FloatArray = (current if jump > JUMP else before + FOLLOW * seen * change).astype(np.float32)
    return followed
