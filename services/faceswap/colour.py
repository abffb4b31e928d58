"""CIE Lab, what looks like skin in it, and light that does not flicker from frame to frame."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from services.faceswap.chart import Laid
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray

LIGHT_KEY: Final = "light"
FOLLOW, JUMP = 0.2, 0.35  # share of a new frame in the remembered light; natural logarithm: a lamp switched, not noise
LEAST_FACTOR: Final = 1e-3


def to_lab(bgr: FloatArray) -> FloatArray:
    """BGR of 0 to 255 (h, w, 3) to Lab (L 0 to 100)."""
    return np.asarray(cv2.cvtColor(bgr.astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB), np.float32)


def to_bgr(lab: FloatArray) -> FloatArray:
    """The inverse of `to_lab`."""
    bgr: FloatArray = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255.0
    return bgr


def skin_likelihood(lab: FloatArray, sure_skin: FloatArray) -> FloatArray:
    """How much every pixel looks like the pixels that are surely skin (h, w), 0 to 1.

    Light varies over a face, so lightness may stray further than hue; hair is far darker or yellower.
    """
    inside = sure_skin > 0.5
    if int(inside.sum()) < 16:
        return np.ones(lab.shape[:2], np.float32)
    samples = lab[inside]
    middle = np.median(samples, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(samples - middle), axis=0), [5.0, 2.5, 2.5])
    away = (lab - middle) / (spread * [1.8, 1.6, 1.6])
    likelihood: FloatArray = np.exp(-0.5 * np.maximum((away**2).sum(axis=2) - 2.0, 0.0)).astype(np.float32)
    return likelihood


def steadied(factors: FloatArray, laid: Laid, memory: Memory | None) -> FloatArray:
    """Factors of light (small height, small width, 3) that follow a film slowly, place by place on the face.

    What is remembered lies on the chart, so that it moves with the face. Where the mean over the face jumps, as when a
    lamp is switched on, the memory jumps with it. Outside of the mesh, and without memory, factors stay as they are.

    Args:
        factors: over the reduced picture of `laid`; positive.
        memory: of this face; changed.
    """
    if memory is None:
        return factors
    current = np.log(np.maximum(laid.unroll(factors.astype(np.float32)), LEAST_FACTOR))
    seen = np.clip(laid.facing / 0.3, 0.0, 1.0)[:, :, np.newaxis]  # what is turned away says little of its light
    before: FloatArray | None = memory.values.get(LIGHT_KEY)
    if before is None:
        memory.values[LIGHT_KEY] = current
        return factors
    change = current - before
    total = max(float(seen.sum()), 1e-6)
    jump = float(np.abs((seen * change).sum(axis=(0, 1)) / total).max())
    share = 1.0 if jump > JUMP else FOLLOW
    followed = (before + share * seen * change).astype(np.float32)
    memory.values[LIGHT_KEY] = followed
    steady: FloatArray = factors * np.exp(laid.roll(followed - current))
    return steady
