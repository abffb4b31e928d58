"""The texture in the target's light, found on a small picture: factors to multiply the full-sized texture with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import SIDE as CHART_SIDE
from services.faceswap.chart import Laid
from services.faceswap.colour import skin_likelihood, to_bgr, to_lab
from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray
from services.faceswap.texture import Texture
from services.faceswap.zones import features, hair_zone

STEP: Final = 2  # light is found on a picture so many times smaller than the reduced one
FILLED: Final = 0.7  # share of the square around a face that the face fills
LIGHT_SIGMA: Final = 0.12  # of the face's width: what is coarser counts as light
COLOURED: Final = 6.0  # Lab: skin of at least so much chroma is in a coloured picture
FILL: Final = 0.02  # weight of the coarser mean
HIGHLIGHTS: Final = 0.2  # of what exceeds the target's bright skin remains
SKIN_HUES, FEATURE_HUES = 6.0, 12.0  # Lab: how far hues may lie from those of the target's skin around them
DARK: Final = 4.0  # of 255, added before dividing: in black there is no colour
MOST: Final = 6.0
SILHOUETTE_PX: Final = 3.0  # of the reduced picture: along the silhouette what lies behind shines in
HIDDEN_TEXELS: Final = 5.0  # what lies so far from the place that is seen there is hidden


def light_factors(texture: Texture, target: Picture, laid: Laid, shown: FloatArray) -> FloatArray:
    """Factors (h, w, 3) for B, G and R that bring the texture into the target's light, on the reduced picture.

    Args:
        target: BGR (h, w, 3), the reduced picture.
        shown: (h, w), 0 to 1, how well the target shows its face, from `shown_share`.
    """
    height, width = target.shape[:2]
    size = (max(2, width // STEP), max(2, height // STEP))
    covered = _resized(laid.covered.astype(np.float32), size)
    bare, shown = _resized(laid.roll(_bare()), size), _resized(shown, size)
    plain = 1.0 - _resized(laid.roll(_features()), size)
    source, seen = _resized(_on_small(texture, laid), size), _resized(target.astype(np.float32), size)
    target_lab, source_lab = to_lab(seen), to_lab(source)
    target_skin = plain * shown * skin_likelihood(target_lab, shown * bare)
    source_skin = plain * covered * skin_likelihood(source_lab, covered * bare)
    face_px = face_width_px(covered)
    light = _coarse(np.log(seen + DARK), target_skin, LIGHT_SIGMA * face_px)
    change = light - _coarse(np.log(source + DARK), source_skin, LIGHT_SIGMA * face_px)
    lit = np.exp(change) * (source + DARK) - DARK
    lit = _not_burnt(lit, seen, target_skin)
    lit = _of_skins_hue(lit, (np.exp(light) - DARK).astype(np.float32), plain)
    return _resized(np.clip((lit + DARK) / (source + DARK), 0.0, MOST), (width, height))


def _coarse(values: FloatArray, weight: FloatArray, sigma_px: float) -> FloatArray:
    """Gaussian mean of `values` (h, w, 3) where `weight` (h, w) counts; where little does, coarser means fill in."""
    total = max(float(weight.sum()), 1e-6)
    mean = np.broadcast_to((values * weight[:, :, np.newaxis]).sum(axis=(0, 1)) / total, values.shape)
    packed = np.dstack([values * weight[:, :, np.newaxis], weight]).astype(np.float32)
    height, width = weight.shape
    for octaves in (2, 1, 0):
        small = _resized(packed, (max(1, width >> octaves), max(1, height >> octaves)))
        small = np.asarray(cv2.GaussianBlur(small, (0, 0), sigma_px, borderType=cv2.BORDER_CONSTANT), np.float32)
        blurred = _resized(small, (width, height))
        mean = (blurred[:, :, :3] + FILL * mean) / (blurred[:, :, 3:] + FILL)
    return np.asarray(mean, np.float32)


def _not_burnt(lit: FloatArray, target: FloatArray, target_skin: FloatArray) -> FloatArray:
    """What would be brighter than the target's bright skin, brought closer to it."""
    skin = target_skin > 0.5
    brightest = float(np.percentile(target[skin].max(axis=1), 88)) if skin.any() else 250.0
    peak = np.maximum(lit.max(axis=2, keepdims=True), 1.0)
    held = np.where(peak > brightest, brightest + HIGHLIGHTS * (peak - brightest), peak)
    return np.asarray(lit * (held / peak), np.float32)


def _of_skins_hue(lit: FloatArray, light: FloatArray, plain: FloatArray) -> FloatArray:
    """Hues held near the target's skin around them: highlights are not blue, nor shadows grey.

    Features keep theirs, unless the target's picture has no colours.
    """
    lab, around = to_lab(np.clip(lit, 0, 255)), to_lab(np.clip(light, 0, 255))
    colours = min(1.0, float(np.hypot(around[:, :, 1], around[:, :, 2]).mean()) / COLOURED)
    room = colours * (SKIN_HUES + FEATURE_HUES * (1.0 - plain[:, :, np.newaxis]))
    lab[:, :, 1:] = np.clip(lab[:, :, 1:], around[:, :, 1:] - room, around[:, :, 1:] + room)
    return to_bgr(lab)


def shown_share(laid: Laid) -> FloatArray:
    """How well the target shows each texel of the chart, 0 to 1: faced, in front, and not at the silhouette."""
    faced = np.clip((laid.facing - 0.15) / 0.3, 0.0, 1.0)
    covered = cv2.copyMakeBorder(laid.covered.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inwards = cv2.distanceTransform(covered, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    depth = laid.unroll(np.asarray(inwards, np.float32)) / SILHOUETTE_PX - 0.5
    columns, rows = _grid()
    back = laid.unroll(laid.to_chart)
    off = np.hypot(back[:, :, 0] - columns, back[:, :, 1] - rows) / HIDDEN_TEXELS
    shown: FloatArray = (faced * np.clip(depth, 0.0, 1.0) * np.clip(2.0 - off, 0.0, 1.0)).astype(np.float32)
    return shown


def ramp(covered: NDArray[np.bool_], feather_px: float) -> FloatArray:
    """0 at the border of the mesh, 1 from `feather_px` within, (h, w); the picture's own border is none."""
    padded = cv2.copyMakeBorder(covered.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    share = np.clip((depth - 0.5) / max(feather_px, 1.0), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


def face_width_px(covered: NDArray[Any]) -> float:
    """About the width of the face that covers so much."""
    return float(np.sqrt(max(float(covered.sum()), 1.0) / FILLED))


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """To (width, height)."""
    shrinking = size[0] < values.shape[1]
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR))


def _on_small(texture: Texture, laid: Laid) -> FloatArray:
    """The texture on the reduced picture (h, w, 3), float32."""
    level = np.ascontiguousarray(texture.levels[-2][:, :, :3])
    at = (laid.to_chart + np.float32(0.5)) * np.float32(level.shape[0] / CHART_SIDE) - np.float32(0.5)
    x, y = np.ascontiguousarray(at[:, :, 0]), np.ascontiguousarray(at[:, :, 1])
    return np.asarray(cv2.remap(level, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@lru_cache(maxsize=1)
def _grid() -> tuple[FloatArray, FloatArray]:
    rows, columns = np.mgrid[0:CHART_SIDE, 0:CHART_SIDE].astype(np.float32)
    return columns, rows


@lru_cache(maxsize=1)
def _bare() -> FloatArray:
    """Where no hair lies on most faces (SIDE, SIDE), 0 or 1: cheeks, nose, mouth and chin."""
    small = cv2.resize(hair_zone(), (CHART_SIDE, CHART_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small < 0.01, np.float32)


@lru_cache(maxsize=1)
def _features() -> FloatArray:
    """Brows, eyes, lips, nostrils (SIDE, SIDE), 0 to 1."""
    return np.asarray(cv2.resize(features(), (CHART_SIDE, CHART_SIDE), interpolation=cv2.INTER_AREA), np.float32)
