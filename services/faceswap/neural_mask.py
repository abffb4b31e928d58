"""Which pixels a network may repaint: the face's outline and the parts of it that were asked for, with soft borders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.face_engine import FACE_REGIONS, FaceRegion, Look
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.neural_align import Matrix
from services.faceswap.template import FACE_OVAL, LEFT_BROW, LEFT_EYE, NOSE_OUTLINE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE
from services.faceswap.warp import Region

OUTLINE_SCALE: Final = 1.04  # a network moves the outline a little; the mesh ends just inside of it
CROP_BORDER: Final = 0.07  # share of the crop's side over which its content fades in
SUBPIXEL_BITS: Final = 4
NOSE_RING: Final = (168, 122, 174, 198, 129, 98, 97, 2, 326, 327, 358, 420, 399, 351)
# What belongs to a part, and by how much of the face's width it is widened.
_PARTS: Final[dict[FaceRegion, tuple[tuple[tuple[int, ...], ...], float]]] = {
    "brows": ((RIGHT_BROW, LEFT_BROW), 0.015),
    "eyes": ((RIGHT_EYE, LEFT_EYE), 0.035),
    "nose": ((NOSE_RING,), 0.01),
    "mouth": ((OUTER_LIPS,), 0.03),
}
_PART_SOFTNESS: Final = 0.012  # of the face's width


def face_width(points: Points) -> float:
    """Mean of width and height of the box around a mesh, in pixels."""
    return float(np.ptp(points[:, :2], axis=0).mean())


def outline_mask(points: Points, region: Region, feather_px: float) -> FloatArray:
    """1 inside the face's outline, 0 outside, a smooth ramp of `feather_px` within the border (h, w)."""
    oval = np.asarray(points, np.float64)[list(FACE_OVAL), :2]
    centre = oval.mean(axis=0)
    # The nose of a turned head reaches beyond the oval.
    inside = _filled([centre + OUTLINE_SCALE * (oval - centre), _hull(points, NOSE_OUTLINE)], region)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)
    ramp = np.clip(depth / max(feather_px, 1.0), 0.0, 1.0)
    mask: FloatArray = (ramp * ramp * (3.0 - 2.0 * ramp)).astype(np.float32)
    return mask


def parts_mask(points: Points, region: Region, regions: frozenset[FaceRegion]) -> FloatArray:
    """Share of every pixel that belongs to the wanted parts (h, w); skin is what is no other part."""
    share = np.full((region.height, region.width), float("skin" in regions), np.float32)
    if regions == frozenset(FACE_REGIONS):
        return share
    width = face_width(points)
    for part, (rings, widened) in _PARTS.items():
        inside = _filled([_hull(points, ring) for ring in rings], region)
        grown = cv2.dilate(inside, _disc(widened * width)).astype(np.float32)
        soft = cv2.GaussianBlur(grown, (0, 0), max(_PART_SOFTNESS * width, 0.6))
        share += soft * (float(part in regions) - share)
    return share


@lru_cache(maxsize=16)
def crop_mask(size: int) -> FloatArray:
    """1 within a crop, falling smoothly to 0 at its border (size, size); shared, not to be changed."""
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) - 1.0
    ramp = np.clip(from_edge / max(CROP_BORDER * size, 1.0), 0.0, 1.0)
    ramp = ramp * ramp * (3.0 - 2.0 * ramp)
    mask: FloatArray = np.minimum(ramp[:, np.newaxis], ramp[np.newaxis, :]).astype(np.float32)
    return mask


def paste_alpha(points: Points, region: Region, look: Look, matrix: Matrix, size: int) -> FloatArray:
    """Share of the crop's pixels over the region (h, w): outline, wanted parts, and where the crop reaches.

    Args:
        points: the target's mesh (468, 3) in pixels of its picture.
        matrix: (2, 3), from the picture to the crop of `size` pixels.
    """
    alpha = outline_mask(points, region, look.feather * face_width(points))
    alpha *= parts_mask(points, region, look.regions)
    return alpha * from_crop(crop_mask(size), matrix, region)


def from_crop(values: FloatArray, matrix: Matrix, region: Region) -> FloatArray:
    """Values of a crop (size, size) or (size, size, c), sampled over the region of the picture; 0 beyond the crop.

    Where the crop holds more pixels than the place they go to, they are averaged first.
    """
    to_crop = np.array(matrix, np.float64)
    to_crop[:, 2] += to_crop[:, :2] @ [region.left, region.top]
    shrink = float(np.sqrt(abs(np.linalg.det(to_crop[:, :2]))))
    if shrink >= 2.0:
        size = max(1, round(values.shape[0] / int(shrink)))
        factor = values.shape[0] / size
        values = np.asarray(cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA), np.float32)
        to_crop[:, 2] = (to_crop[:, 2] + 0.5) / factor - 0.5
        to_crop[:, :2] /= factor
    how = cv2.INTER_CUBIC if shrink < 1.0 and values.ndim == 3 else cv2.INTER_LINEAR
    flat = cv2.warpAffine(values, to_crop, (region.width, region.height), flags=how | cv2.WARP_INVERSE_MAP)
    return np.asarray(flat, np.float32)


def _filled(rings: Sequence[NDArray[np.floating]], region: Region) -> NDArray[np.uint8]:
    mask = np.zeros((region.height, region.width), np.uint8)
    scale = 1 << SUBPIXEL_BITS
    for ring in rings:
        local = np.rint((ring - [region.left, region.top]) * scale).astype(np.int32)
        cv2.fillPoly(mask, [local], 1, shift=SUBPIXEL_BITS)
    return mask


def _hull(points: Points, ring: tuple[int, ...]) -> NDArray[np.float32]:
    flat = np.asarray(points[list(ring), :2], np.float32)
    return np.asarray(cv2.convexHull(flat), np.float32)[:, 0]


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
