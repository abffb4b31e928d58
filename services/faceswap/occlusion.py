"""What lies before a face: hands, hair, microphones, cups; told from skin by colour under the face's own light.

On the chart of the face (`chart.py`) a smooth shading and tint are fitted robustly to the texels that may be skin.
What is far from it, is not a brow, an eye, a lip or a nostril, and either reaches the border of the face or is large,
lies before the face, and so does background where the mesh reaches beyond the head. The mask's border follows the
object by a guided filter (He, Sun, Tang 2010, "Guided image filtering").
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import SIDE, Laid, chart
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray

FACING_MIN: Final = 0.15  # cosine; what is turned away further shows nothing reliable
ROUNDS: Final = 4  # of the robust fit
LEAST_SPREAD: Final = np.array([0.09, 0.035, 0.05], np.float32)  # of skin around its fit, natural logarithms
MOST_SPREAD: Final = np.array([0.20, 0.07, 0.12], np.float32)
DARK: Final = 8.0  # of 255, added before the logarithm: noise in black is no colour
CLEARLY, ALIKE = 9.0, 6.0  # spreads from skin: seeds of an occluder, and what is counted with them
LEAST_AREA: Final = 0.006  # of the face's visible texels


def occluder_share(picture: Picture, laid: Laid, memory: Memory | None = None) -> FloatArray:
    """How much each pixel shows something else than the face (h, w), 0 to 1; 0 outside of the mesh.

    Args:
        picture: BGR uint8 (h, w, 3), the target around its face.
        laid: the face's mesh over the same picture, `chart.lay(points, h, w)`.
        memory: of this face in a film; None for a picture.
    """
    small = laid.reduce(picture)
    texels = laid.unroll(small)
    visible = chart().inside & (laid.facing > FACING_MIN)
    distance = skin_distance(texels, visible)
    found = _components(distance, visible)
    if not found.any():
        return np.zeros(picture.shape[:2], np.float32)
    return _soft(picture, small, laid, found)


def skin_distance(texels: Picture, visible: NDArray[np.bool_]) -> FloatArray:
    """How far each texel (SIDE, SIDE) is from this face's skin under this face's light, in spreads."""
    colour = _logarithms(texels)
    basis, zones = _basis(), _feature_zones()
    counted = (visible & (zones < 0.05)).astype(np.float32)
    first = counted * _sure_zone()
    weight = first if float(first.sum()) > 60.0 else counted
    samples = colour[weight > 0.5]
    if len(samples) < 30:
        return np.zeros((SIDE, SIDE), np.float32)
    residual = colour - np.median(samples, axis=0)
    spread = MOST_SPREAD
    for round_ in range(ROUNDS):
        away = ((residual / spread) ** 2).sum(axis=2)
        robust = (first if round_ == 0 else counted) / (1.0 + away / 4.0) ** 2
        b, w = basis.reshape(SIDE * SIDE, -1), robust.reshape(-1, 1)
        normal = b.T @ (w * b) + 0.002 * float(w.sum()) * np.diag([0.0] + [1.0] * (b.shape[1] - 1)).astype(np.float32)
        terms = np.linalg.solve(normal, b.T @ (w * colour.reshape(-1, 3)))
        residual = colour - (b @ terms).reshape(SIDE, SIDE, 3)
        inner = robust > 0.3
        if int(inner.sum()) > 30:
            spread = np.clip(1.4826 * np.median(np.abs(residual[inner]), axis=0), LEAST_SPREAD, MOST_SPREAD)
    distance: FloatArray = np.sqrt(((residual / spread) ** 2).sum(axis=2)).astype(np.float32)
    return distance


def _logarithms(texels: Picture) -> FloatArray:
    """Lightness, red against green, blue against green, in natural logarithms (SIDE, SIDE, 3)."""
    logs = _log_table()[texels]
    return np.dstack([logs.mean(axis=2), logs[:, :, 2] - logs[:, :, 1], logs[:, :, 0] - logs[:, :, 1]])


@lru_cache(maxsize=1)
def _log_table() -> FloatArray:
    return np.log(np.arange(256, dtype=np.float32) + np.float32(DARK))


@lru_cache(maxsize=1)
def _basis() -> FloatArray:
    """Smooth light over a head (SIDE, SIDE, 6): even, along three axes, and two of the second order."""
    x, y, z = np.moveaxis(chart().normals, 2, 0)
    return np.stack([np.ones_like(x), x, y, z + 0.7, x * x - 0.3, x * y], axis=2).astype(np.float32)


@lru_cache(maxsize=1)
def _feature_zones() -> FloatArray:
    """Where a face is not of the colour of skin (SIDE, SIDE)."""
    fixed = chart()
    return np.max([fixed.brows, fixed.eyes, fixed.lips, fixed.nostrils], axis=0).astype(np.float32)


@lru_cache(maxsize=1)
def _sure_zone() -> FloatArray:
    """Cheeks, nose and the middle of the forehead: skin on nearly every face."""
    x, y, _ = np.moveaxis(chart().head, 2, 0)
    return ((np.abs(x) < 0.5) & (y > -0.42) & (y < 0.62)).astype(np.float32)


def _components(distance: FloatArray, visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    fixed = chart()
    free = visible & (_feature_zones() < 0.5)
    alike = (free & (distance > ALIKE)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=4)
    found = np.zeros((SIDE, SIDE), np.bool_)
    least = LEAST_AREA * float(visible.sum())
    at_border = (fixed.border < 3.0) | ~cv2.erode(visible.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < least:
            continue
        part = labels == label
        seeds = part & (distance > CLEARLY)
        if seeds.sum() < 0.3 * part.sum():
            continue
        if (part & at_border).any():
            found |= part
    if not found.any():
        return found
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, _disc(5)).astype(np.bool_)
    return found | (closed & visible & ((_feature_zones() > 0.05) | (distance > 2.0)))


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _soft(picture: Picture, small: Picture, laid: Laid, found: NDArray[np.bool_]) -> FloatArray:
    """The mask at full size, its border drawn to the object's by a guided filter."""
    rough = laid.roll(found.astype(np.float32))
    inside, outside = rough > 0.5, laid.covered & (rough <= 0.5)
    axis = small[inside].mean(axis=0) - small[outside].mean(axis=0) if outside.any() and inside.any() else np.ones(3)
    axis = (axis / max(float(np.abs(axis).sum()), 1e-3) / 255.0).astype(np.float32)
    guide = cv2.transform(small.astype(np.float32), axis[np.newaxis])
    side = (9, 9)
    mean_g, mean_m = cv2.blur(guide, side), cv2.blur(rough, side)
    slope = (cv2.blur(guide * rough, side) - mean_g * mean_m) / (cv2.blur(guide * guide, side) - mean_g**2 + 2e-4)
    level = mean_m - slope * mean_g
    slope, level = laid.enlarge(cv2.blur(slope, side)), laid.enlarge(cv2.blur(level, side))
    fine = slope * cv2.transform(picture, axis[np.newaxis].astype(np.float64)).astype(np.float32) + level
    share: FloatArray = np.clip((fine - 0.15) / 0.7, 0.0, 1.0)
    return share
