"""The source's detail in the target's light.

Colours are compared in CIE Lab. A Gaussian so wide that it sees light and skin tone, but no features, is taken over
skin only of both faces (normalised convolution); the source's is replaced by the target's.
"""

from __future__ import annotations

import cv2
import numpy as np

from services.faceswap.litert import FloatArray


def to_lab(bgr: FloatArray) -> FloatArray:
    """BGR of 0 to 255 (h, w, 3) to Lab (L 0 to 100)."""
    lab: FloatArray = cv2.cvtColor(bgr.astype(np.float32) / 255.0, cv2.COLOR_BGR2LAB)
    return lab


def to_bgr(lab: FloatArray) -> FloatArray:
    """The inverse of `to_lab`."""
    bgr: FloatArray = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * 255.0
    return bgr


def smoothed(values: FloatArray, weight: FloatArray, sigma_px: float) -> FloatArray:
    """Gaussian mean of `values` (h, w, c) over the pixels that `weight` (h, w) counts; defined everywhere.

    Computed at reduced size: nothing finer than sigma is left anyway.
    """
    height, width = weight.shape
    step = max(1.0, sigma_px / 3.0)
    size = (max(2, round(width / step)), max(2, round(height / step)))
    packed = np.dstack([values * weight[:, :, np.newaxis], weight])
    small = cv2.resize(packed, size, interpolation=cv2.INTER_AREA)
    sigma = sigma_px * size[0] / width
    small = cv2.GaussianBlur(small, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    mean = small[:, :, :-1] / np.maximum(small[:, :, -1:], 1e-6)
    weak = small[:, :, -1:] < 1e-3  # far from any skin: the overall mean
    overall = packed[:, :, :-1].sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    mean = np.where(weak, overall, mean).astype(np.float32)
    full: FloatArray = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
    return full


def relight(
    source_lab: FloatArray,
    target_lab: FloatArray,
    source_skin: FloatArray,
    target_skin: FloatArray,
    sigma_px: float,
    strength: float,
) -> FloatArray:
    """The source (h, w, 3) with the target's mean colour and `strength` (0 to 1) of its low frequencies.

    Args:
        source_skin, target_skin: (h, w), 0 to 1, which pixels are skin.
        sigma_px: width of the Gaussian.
    """
    shift = _mean(target_lab, target_skin) - _mean(source_lab, source_skin)
    if strength > 0:
        low = smoothed(target_lab, target_skin, sigma_px) - smoothed(source_lab, source_skin, sigma_px)
        shift = shift + strength * (low - shift)
    lit: FloatArray = (source_lab + shift).astype(np.float32)
    lit[:, :, 0] = np.clip(lit[:, :, 0], 0.0, 100.0)
    return lit


def _mean(lab: FloatArray, weight: FloatArray) -> FloatArray:
    total: FloatArray = (lab * weight[:, :, np.newaxis]).sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    return total


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
    away = (lab - middle) / (spread * [2.0, 1.6, 1.6])
    likelihood: FloatArray = np.exp(-0.5 * np.maximum((away**2).sum(axis=2) - 2.0, 0.0)).astype(np.float32)
    return likelihood
