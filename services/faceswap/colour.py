"""The source's detail in the target's light.

Colours are compared in CIE Lab. A Gaussian so wide that it sees light and skin tone, but no features, is taken over
skin only of both faces (normalised convolution); the source's is replaced by the target's.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from services.faceswap.chart import Laid
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray

COLOURFUL: Final = 2.0  # the source may be so many times as varied in hue as the target
PRIOR_WEIGHT: Final = 0.08
LIGHT_SIGMA, HUE_SIGMA = 0.14, 0.07  # of the face's width: what is coarser counts as light
MAX_LIGHT: Final = np.array([16.0, 14.0, 14.0], np.float32)  # Lab; what differs by more is no matter of light
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
    overall = _mean(values, weight)
    # Where little is counted nearby, the overall mean fills in.
    mean = (small[:, :, :-1] + PRIOR_WEIGHT * overall) / (small[:, :, -1:] + PRIOR_WEIGHT)
    full: FloatArray = cv2.resize(mean.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return full.reshape(values.shape)


def relight(
    source_lab: FloatArray,
    target_lab: FloatArray,
    source_skin: FloatArray,
    target_skin: FloatArray,
    surface: FloatArray,
    face_px: float,
    strength: FloatArray,
) -> FloatArray:
    """The source (h, w, 3) with the target's mean colour and `strength` (h, w; 0 to 1) of its low frequencies.

    Hue follows the target at a finer scale than lightness: features are mostly lightness, tints mostly light.

    Args:
        source_skin, target_skin: (h, w), 0 to 1, which pixels are skin.
        surface: (h, w), 0 to 1, what both pictures show of the face, with its shadows and strands of hair.
        face_px: width of the face.
    """
    source_lab = _without_tints(source_lab, source_skin)
    source_lab = _as_colourful(source_lab, source_skin, target_lab, target_skin)
    shift = _mean(target_lab, target_skin) - _mean(source_lab, source_skin)
    change = np.empty_like(source_lab)
    change[:, :, :1] = smoothed(target_lab[:, :, :1], target_skin, LIGHT_SIGMA * face_px) - smoothed(
        source_lab[:, :, :1], source_skin, LIGHT_SIGMA * face_px
    )
    change[:, :, 1:] = smoothed(target_lab[:, :, 1:] - source_lab[:, :, 1:], surface, HUE_SIGMA * face_px)
    limited = np.clip(change - shift, -MAX_LIGHT, MAX_LIGHT)
    lit: FloatArray = (source_lab + shift + strength[:, :, np.newaxis] * limited).astype(np.float32)
    # Highlights of the source on top of bright parts of the target would burn out: above the target's own, compress.
    brightest = float(np.percentile(target_lab[:, :, 0][target_skin > 0.5], 95)) if (target_skin > 0.5).any() else 100.0
    lightness = lit[:, :, 0]
    lit[:, :, 0] = np.clip(
        np.where(lightness > brightest, brightest + 0.35 * (lightness - brightest), lightness), 0, 100
    )
    return lit


def _without_tints(lab: FloatArray, skin: FloatArray) -> FloatArray:
    """Hues less red or less yellow than skin ever is, such as a sliver of background, pulled back to skin's."""
    inside = skin > 0.5
    if int(inside.sum()) < 16:
        return lab
    lowest = np.percentile(lab[inside], 3, axis=0)
    cleaned = lab.copy()
    cleaned[:, :, 1:] = np.maximum(lab[:, :, 1:], lowest[1:])
    return cleaned


def _as_colourful(
    source_lab: FloatArray, source_skin: FloatArray, target_lab: FloatArray, target_skin: FloatArray
) -> FloatArray:
    """The source's hues drawn together where the target's skin has far fewer: a grey target gets a grey face."""
    spreads = [
        np.sqrt(_mean((lab - _mean(lab, skin)) ** 2, skin)[1:].sum())
        for lab, skin in ((source_lab, source_skin), (target_lab, target_skin))
    ]
    share = min(1.0, COLOURFUL * float(spreads[1]) / max(float(spreads[0]), 1e-6))
    middle = _mean(source_lab, source_skin)
    drawn = source_lab.copy()
    drawn[:, :, 1:] = middle[1:] + share * (source_lab[:, :, 1:] - middle[1:])
    return drawn


def _mean(lab: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted mean over all pixels, (c,)."""
    total: FloatArray = weight.ravel() @ lab.reshape(-1, lab.shape[2]) / max(float(weight.sum()), 1e-6)
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
