"""CIE Lab, and what looks like skin in it."""

from __future__ import annotations

import cv2
import numpy as np

from services.faceswap.litert import FloatArray
from services.faceswap.median import median


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
    middle = median(samples)
    spread = np.maximum(1.4826 * median(np.abs(samples - middle)), [5.0, 2.5, 2.5])
    away = (lab - middle) / (spread * [1.8, 1.6, 1.6])
    likelihood: FloatArray = np.exp(-0.5 * np.maximum((away**2).sum(axis=2) - 2.0, 0.0)).astype(np.float32)
    return likelihood
