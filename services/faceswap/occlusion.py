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
import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import SIDE, Laid, chart
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray
from services.faceswap.median import median
from services.faceswap.occlusion_memory import hidden_by_memory, steps_of, warm_occlusion_memory, whole_head
from services.faceswap.skin_model import MOST_SPREAD, feature_zones, logarithms, skin_distance

FACING_MIN: Final = 0.15  # cosine; what is turned away further shows nothing reliable
CLEARLY, ALIKE = 5.5, 4.5  # spreads from skin: seeds of an occluder, and what is counted with them
LEAST_AREA: Final = 0.006  # of the face's visible texels
LEAST_STEP: Final = 4.0  # in spreads; a smaller difference is no border of an object
# A component's step at its border, within two texels, over the whole step; more is asked of what is less unlike skin.
SHARPNESS, SHARPNESS_PER_SPREAD, LEAST_SHARPNESS = 1.4, 0.07, 0.35
FOUND: Final = "occluders"  # of every second frame; the next one keeps their place on the face, its border is its own
ROOM: Final = 12  # pixels of the reduced picture around the mask in which its border is sought
GUIDE, FLAT = 9, 2e-4  # window of the guided filter in such pixels; variance of the guide that counts as flat


def occluder_share(
    picture: Picture, laid: Laid, memory: Memory | None = None, *, small: Picture | None = None
) -> FloatArray:
    """How much each pixel shows something else than the face (h, w), 0 to 1; 0 outside of the mesh.

    Args:
        picture: BGR uint8 (h, w, 3), the target around its face.
        laid: the face's mesh over the same picture, `chart.lay(points, h, w)`.
        memory: of this face in a film; None for a picture.
        small: `laid.reduce(picture)`, where it is known already.
    """
    small = laid.reduce(picture) if small is None else small
    visible = chart().inside & (laid.facing > FACING_MIN)
    found = None if memory is None else memory.values.pop(FOUND, None)
    if found is None:
        found = _found(small, laid, visible, memory)
        if memory is not None:
            memory.values[FOUND] = found
    if not found.any():
        return np.zeros(picture.shape[:2], np.float32)
    return _soft(picture, small, laid, found & visible)


def _found(small: Picture, laid: Laid, visible: NDArray[np.bool_], memory: Memory | None) -> NDArray[np.bool_]:
    """Which texels something hides."""
    colour = logarithms(laid.unroll(small))
    steps = steps_of(colour, MOST_SPREAD)
    found = _components(colour, skin_distance(colour, visible), visible, steps)
    if memory is not None:
        found = hidden_by_memory(colour, visible, found, steps, MOST_SPREAD, memory)
    return _through_features(found, colour, visible) if found.any() else found


def _components(
    colour: FloatArray, distance: FloatArray, visible: NDArray[np.bool_], steps: FloatArray
) -> NDArray[np.bool_]:
    """Which texels belong to something before the face: connected, clearly unlike skin, sharp, from the border."""
    free = visible & (feature_zones() < 0.5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (free & (distance > ALIKE)).astype(np.uint8), connectivity=4
    )
    found = np.zeros((SIDE, SIDE), np.bool_)
    least = LEAST_AREA * float(visible.sum())
    at_border = cv2.erode(whole_head(visible).view(np.uint8), _disc(2), borderValue=0) == 0
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < least:
            continue
        part = labels == label
        if (part & (distance > CLEARLY)).sum() < 0.5 * part.sum() or not (part & at_border).any():
            continue
        needed = max(SHARPNESS - SHARPNESS_PER_SPREAD * float(median(distance[part])), LEAST_SHARPNESS)
        if _sharpness(part, colour, steps, free & ~at_border) > needed:
            found |= part
    return found


def _sharpness(part: NDArray[np.bool_], colour: FloatArray, steps: FloatArray, within: NDArray[np.bool_]) -> float:
    """The step at a part's border over the whole difference between what lies inside and beside it."""
    mask = part.astype(np.uint8)
    wide = cv2.dilate(mask, _disc(1)) > 0
    edge = wide & (cv2.erode(mask, _disc(1)) == 0) & within
    beside = (cv2.dilate(mask, _disc(4)) > 0) & ~wide & within
    if int(edge.sum()) < 6 or not beside.any():
        return 0.0
    whole = (median(colour[part]) - median(colour[beside])) / MOST_SPREAD
    return float(median(steps[edge])) / max(float(np.linalg.norm(whole)), LEAST_STEP)


def _through_features(found: NDArray[np.bool_], colour: FloatArray, visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`found`, and what of eyes, brows, lips and nostrils beside it is of the same colour."""
    weight = found.astype(np.float32)
    near = cv2.blur(weight, (15, 15))
    mean = cv2.blur(colour * weight[:, :, np.newaxis], (15, 15)) / np.maximum(near, 1e-4)[:, :, np.newaxis]
    alike = (np.abs(colour - mean) < 2.5 * MOST_SPREAD).all(axis=2) & (near > 0.03) & visible
    filled = found | (alike & (feature_zones() > 0.05))
    closed = cv2.morphologyEx(filled.astype(np.uint8), cv2.MORPH_CLOSE, _disc(2)).astype(np.bool_)
    return closed & visible


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _soft(picture: Picture, small: Picture, laid: Laid, found: NDArray[np.bool_]) -> FloatArray:
    """The mask at full size, its border drawn to the object's by a guided filter along the colours that part them."""
    share = np.zeros(picture.shape[:2], np.float32)
    rough = laid.roll(found.astype(np.float32))
    left, top, width, height = cv2.boundingRect((rough > 0.0).astype(np.uint8))
    if width == 0 or height == 0:
        return share
    rows = slice(max(0, top - ROOM), min(small.shape[0], top + height + ROOM))
    columns = slice(max(0, left - ROOM), min(small.shape[1], left + width + ROOM))
    small, rough, covered = small[rows, columns].astype(np.float32), rough[rows, columns], laid.covered[rows, columns]
    inside, outside = (rough > 0.5).astype(np.uint8), (covered & (rough <= 0.5)).astype(np.uint8)
    axis = np.array(cv2.mean(small, inside)[:3]) - np.array(cv2.mean(small, outside)[:3])
    axis = (axis / max(float(np.abs(axis).sum()), 1e-3) / 255.0)[np.newaxis]
    guide = cv2.transform(small, axis)
    side = (GUIDE, GUIDE)
    mean_g, mean_m = cv2.blur(guide, side), cv2.blur(rough, side)
    slope = (cv2.blur(guide * rough, side) - mean_g * mean_m) / (cv2.blur(guide * guide, side) - mean_g**2 + FLAT)
    level = mean_m - slope * mean_g
    size = ((columns.stop - columns.start) * laid.step, (rows.stop - rows.start) * laid.step)
    slope, level = (cv2.resize(cv2.blur(field, side), size, interpolation=cv2.INTER_LINEAR) for field in (slope, level))
    part = picture[rows.start * laid.step : rows.stop * laid.step, columns.start * laid.step : columns.stop * laid.step]
    height, width = part.shape[:2]
    mixed = np.empty((height, width), np.float32)
    _mixed(np.ascontiguousarray(part), axis[0].astype(np.float32), slope, level, mixed)
    share[rows.start * laid.step :, columns.start * laid.step :][:height, :width] = mixed
    return share


def warm_occlusion() -> None:
    """Compiles what numba compiles only once something lies before a face, or a face was seen for a while."""
    field = np.zeros((2, 2), np.float32)
    _mixed(np.zeros((2, 2, 3), np.uint8), np.zeros(3, np.float32), field, field, field.copy())
    warm_occlusion_memory()


@numba.njit(cache=True, nogil=True)
def _mixed(picture: Picture, axis: FloatArray, slope: FloatArray, level: FloatArray, out: FloatArray) -> None:
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            guide = axis[0] * picture[y, x, 0] + axis[1] * picture[y, x, 1] + axis[2] * picture[y, x, 2]
            value = (slope[y, x] * guide + level[y, x] - np.float32(0.15)) / np.float32(0.7)
            out[y, x] = min(max(value, np.float32(0.0)), np.float32(1.0))
