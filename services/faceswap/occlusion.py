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
ROUNDS: Final = 4  # of the robust fits
DARK: Final = 8.0  # of 255, added before the logarithm: noise in black is no colour
# Natural logarithms of lightness, red against green, blue against green.
LEAST_SPREAD: Final = np.array([0.08, 0.035, 0.05], np.float32)  # of skin around its fit
MOST_SPREAD: Final = np.array([0.16, 0.05, 0.075], np.float32)
TINT_BY_LIGHT: Final = np.array([-0.12, 0.18], np.float32)  # shadows on skin are redder and less blue
SLOPES: Final = ((-0.7, 0.1), (-0.1, 1.2))  # where red is clipped the tint follows the light steeply
SHADOW, GLOSS = 0.9, 0.35  # by how much skin may be darker or brighter than the smooth light on it
CLEARLY, ALIKE = 6.5, 4.5  # spreads from skin: seeds of an occluder, and what is counted with them
LEAST_AREA: Final = 0.006  # of the face's visible texels
LEAST_STEP: Final = 4.0  # in spreads; a smaller difference is no border of an object
# A component's step at its border, within two texels, over the whole step; more is asked of what is less unlike skin.
SHARPNESS, SHARPNESS_PER_SPREAD, LEAST_SHARPNESS = 1.4, 0.07, 0.35
PATCHES: Final = (
    (50, 1),
    (205, 1),
    (280, 1),
    (425, 1),
    (118, 1),
    (347, 1),
    (199, 1),
    (151, 1),
    (108, 1),
    (337, 1),
    (187, 1),
    (411, 1),
    (4, 2),
    (197, 2),
    (195, 2),
    (9, 2),
    (8, 2),
    (51, 1),
    (281, 1),
)  # points on likely skin, and their votes


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
    colour = _logarithms(texels)
    found = _components(colour, skin_distance(texels, visible), visible)
    if not found.any():
        return np.zeros(picture.shape[:2], np.float32)
    return _soft(picture, small, laid, _through_features(found, colour, visible))


def skin_distance(texels: Picture, visible: NDArray[np.bool_]) -> FloatArray:
    """How far each texel (SIDE, SIDE) is from this face's skin under this face's light, in spreads."""
    colour = _logarithms(texels)
    counted = visible & (_feature_zones() < 0.05)
    if int(counted.sum()) < 100:
        return np.zeros((SIDE, SIDE), np.float32)
    likely = counted * _agreeing(colour, counted)
    lightness, tint = colour[:, :, 0], colour[:, :, 1:]
    level = float(np.median(lightness[likely > 0.5])) if (likely > 0.5).any() else float(lightness[counted].mean())
    basis = _basis().reshape(SIDE * SIDE, -1)
    spread = MOST_SPREAD.copy()
    weight = likely
    for _ in range(ROUNDS):
        total = float(weight.sum()) + 1e-6
        # Tint: even over the face, but it follows lightness.
        offset = np.clip(lightness - level, -0.8, 0.5)
        tint_away = np.empty_like(tint)
        mean_offset = float((weight * offset).sum()) / total
        centred = offset - mean_offset
        for c in (0, 1):
            mean = float((weight * tint[:, :, c]).sum()) / total
            both = float((weight * centred * (tint[:, :, c] - mean)).sum()) / total
            slope = (both + 0.01 * TINT_BY_LIGHT[c]) / (float((weight * centred**2).sum()) / total + 0.01)
            tint_away[:, :, c] = tint[:, :, c] - mean - np.clip(slope, *SLOPES[c]) * centred
        # Lightness: smooth light over a head.
        w = weight.reshape(-1, 1)
        normal = basis.T @ (w * basis) + 0.03 * total * np.diag(_RIDGE)
        terms = np.linalg.solve(normal, basis.T @ (w[:, 0] * (lightness.ravel() - level)))
        light_away = lightness - level - (basis @ terms).reshape(SIDE, SIDE)
        inner = weight > 0.3
        if int(inner.sum()) > 30:
            residual = np.dstack([light_away, tint_away])[inner]
            spread = np.clip(1.4826 * np.median(np.abs(residual), axis=0), LEAST_SPREAD, MOST_SPREAD)
        away = (light_away / spread[0]) ** 2 + ((tint_away / spread[1:]) ** 2).sum(axis=2)
        weight = counted / (1.0 + away / 4.0) ** 2
    beyond = np.maximum(light_away - GLOSS, 0.0) + np.maximum(-SHADOW - light_away, 0.0)
    doubt = 1.0 + np.abs(np.clip(light_away, -1.0, 1.0))  # tints of shadows and gloss vary more
    distance: FloatArray = np.sqrt((beyond / spread[0]) ** 2 + ((tint_away / spread[1:]) ** 2).sum(axis=2) / doubt**2)
    return distance.astype(np.float32)


def _agreeing(colour: FloatArray, counted: NDArray[np.bool_]) -> FloatArray:
    """How much each texel is of the tint on which most patches of likely skin agree (SIDE, SIDE), 0 to 1.

    Patches in the middle count twice: there a face is covered least often.
    """
    at = np.round(chart().at).astype(int)
    places = [(column, row, votes) for point, votes in PATCHES for column, row in [at[point]] if counted[row, column]]
    if not places:
        return counted.astype(np.float32)
    even = colour[:, :, 1:] - TINT_BY_LIGHT * colour[:, :, :1]
    votes = np.array([votes for _, _, votes in places], np.float32)
    tints = np.array(
        [even[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 2).mean(axis=0) for column, row, _ in places]
    )
    away = ((tints[:, np.newaxis] - tints) / (2.0 * MOST_SPREAD[1:])) ** 2
    best = tints[(np.exp(-0.5 * away.sum(axis=2)) * votes).sum(axis=1).argmax()]
    share: FloatArray = np.exp(-0.5 * (((even - best) / (2.5 * MOST_SPREAD[1:])) ** 2).sum(axis=2))
    return share


def _logarithms(texels: Picture) -> FloatArray:
    """Lightness, red against green, blue against green, in natural logarithms (SIDE, SIDE, 3)."""
    logs = _log_table()[texels]
    return np.dstack([logs.mean(axis=2), logs[:, :, 2] - logs[:, :, 1], logs[:, :, 0] - logs[:, :, 1]])


@lru_cache(maxsize=1)
def _log_table() -> FloatArray:
    return np.log(np.arange(256, dtype=np.float32) + np.float32(DARK))


_RIDGE: Final = np.array([0.0, 1.0, 1.0, 1.0], np.float32)


@lru_cache(maxsize=1)
def _basis() -> FloatArray:
    """Smooth light over a head (SIDE, SIDE, 4): even, and along three axes."""
    x, y, z = np.moveaxis(chart().normals, 2, 0)
    basis: FloatArray = np.stack([np.ones_like(x), x, y, z + 0.7], axis=2).astype(np.float32)
    return basis


@lru_cache(maxsize=1)
def _feature_zones() -> FloatArray:
    """Where a face is not of the colour of skin (SIDE, SIDE)."""
    fixed = chart()
    return np.max([fixed.brows, fixed.eyes, fixed.lips, fixed.nostrils], axis=0).astype(np.float32)


def _components(colour: FloatArray, distance: FloatArray, visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which texels belong to something before the face: connected, clearly unlike skin, sharp, from the border."""
    free = visible & (_feature_zones() < 0.5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((free & (distance > ALIKE)).astype(np.uint8), None, 4)
    found = np.zeros((SIDE, SIDE), np.bool_)
    least = LEAST_AREA * float(visible.sum())
    head = cv2.morphologyEx(np.pad(visible, 8).astype(np.uint8), cv2.MORPH_CLOSE, _disc(6))[8:-8, 8:-8]
    at_border = cv2.erode(head, _disc(2), borderValue=0) == 0
    steps = _steps(colour)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < least:
            continue
        part = labels == label
        if (part & (distance > CLEARLY)).sum() < 0.5 * part.sum() or not (part & at_border).any():
            continue
        needed = max(SHARPNESS - SHARPNESS_PER_SPREAD * float(np.median(distance[part])), LEAST_SHARPNESS)
        if _sharpness(part, colour, steps, free & ~at_border) > needed:
            found |= part
    return found


def _steps(colour: FloatArray) -> FloatArray:
    """By how many spreads the colour changes within two texels, at most nearby (SIDE, SIDE)."""
    scaled = colour / MOST_SPREAD
    dx, dy = (cv2.Sobel(scaled, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    step: FloatArray = np.sqrt((dx * dx + dy * dy).sum(axis=2))
    return np.asarray(cv2.dilate(step, _disc(3)), np.float32)


def _sharpness(part: NDArray[np.bool_], colour: FloatArray, steps: FloatArray, within: NDArray[np.bool_]) -> float:
    """The step at a part's border over the whole difference between what lies inside and beside it."""
    mask = part.astype(np.uint8)
    wide = cv2.dilate(mask, _disc(1)) > 0
    edge = wide & (cv2.erode(mask, _disc(1)) == 0) & within
    beside = (cv2.dilate(mask, _disc(4)) > 0) & ~wide & within
    if int(edge.sum()) < 6 or not beside.any():
        return 0.0
    whole = (np.median(colour[part], axis=0) - np.median(colour[beside], axis=0)) / MOST_SPREAD
    return float(np.median(steps[edge])) / max(float(np.linalg.norm(whole)), LEAST_STEP)


def _through_features(found: NDArray[np.bool_], colour: FloatArray, visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`found`, and what of eyes, brows, lips and nostrils beside it is of the same colour."""
    weight = found.astype(np.float32)
    packed = cv2.GaussianBlur(np.dstack([colour * weight[:, :, np.newaxis], weight]), (0, 0), 5.0)
    near = packed[:, :, 3]
    mean = packed[:, :, :3] / np.maximum(near, 1e-4)[:, :, np.newaxis]
    alike = (np.abs(colour - mean) < 2.5 * MOST_SPREAD).all(axis=2) & (near > 0.03) & visible
    filled = found | (alike & (_feature_zones() > 0.05))
    closed = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_CLOSE, _disc(2)).astype(np.bool_)
    return closed & visible


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
