"""The mesh engine: one face onto one face, from two meshes and two pictures. See docs/adr/0003-mesh-face-engine.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.colour import relight, skin_likelihood, smoothed, to_bgr, to_lab
from services.faceswap.detector import Picture
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.shape import transfer_shape
from services.faceswap.template import LEFT_EYE, RIGHT_EYE, template
from services.faceswap.warp import EYES, MOUTH, SKIN, Region, Warped, region_around, warp_source, warp_target

MARGIN: Final = 0.28  # of the face's longer side: the room in which the target's outline is bent
LIGHT_SIGMA: Final = 0.14  # of the face's width: what is coarser counts as light
LIGHT_STRENGTH: Final = 0.7
LID_TOLERANCE: Final = (0.75, 0.45)  # source's eye opening over the target's: from here on, to there, the target's eyes


@dataclass(frozen=True)
class Painted:
    """A swapped face: new pixels (h, w, 3) of `region`, and which of them differ (h, w)."""

    region: Region
    pixels: Picture
    changed: NDArray[np.bool_]


def paint(
    source: Picture,
    source_points: Points,
    target: Picture,
    target_points: Points,
    *,
    shape_strength: float,
    feather: float,
) -> Painted:
    """Puts the source's face (mesh (468, 3) in pixels of its picture) onto the target's.

    Args:
        shape_strength: share of the source's face shape, 0 to 1.
        feather: width of the blend's border as a share of the face's width.
    """
    height, width = target.shape[:2]
    points = transfer_shape(source_points, target_points, shape_strength)
    region = region_around([target_points, points], height, width, MARGIN)
    around, moved = warp_target(target, target_points, points, region)
    local = points - [region.left, region.top, 0.0]
    warped = warp_source(source, source_points, local, region, _hair_zone()[:, np.newaxis])
    face_px = float(np.ptp(points[:, :2], axis=0).mean())
    around_lab, texture_lab = to_lab(around.astype(np.float32)), to_lab(np.clip(warped.texture, 0, 255))
    source_skin, target_skin = _skin(warped, texture_lab), _skin(warped, around_lab)
    lit = relight(texture_lab, around_lab, source_skin, target_skin, LIGHT_SIGMA * face_px, LIGHT_STRENGTH)
    alpha = _alpha(warped, source_skin, target_skin, feather * face_px, face_px)
    alpha *= 1.0 - (1.0 - _eye_share(source_points, target_points)) * _soft(warped.part == EYES, 0.012 * face_px)
    blended = around + alpha[:, :, np.newaxis] * (to_bgr(lit) - around)
    pixels = np.where(alpha[:, :, np.newaxis] > 0, np.clip(np.rint(blended), 0, 255), around).astype(np.uint8)
    return Painted(region, pixels, moved | (alpha > 0))


@lru_cache(maxsize=1)
def _hair_zone() -> FloatArray:
    """Where hair may lie over the face, per point (468,): forehead and temples."""
    points = template().points
    forehead = np.clip((-0.26 - points[:, 1]) / 0.12, 0.0, 1.0)
    temples = np.clip((np.abs(points[:, 0]) - 0.58) / 0.12, 0.0, 1.0)
    return np.maximum(forehead, temples).astype(np.float32)


def _skin(warped: Warped, lab: FloatArray) -> FloatArray:
    """Which pixels of a picture on the mesh are skin, 0 to 1: judged in the zone of hair, believed elsewhere."""
    believed = (warped.part == SKIN).astype(np.float32)
    zone = warped.values[:, :, 0]
    likelihood = skin_likelihood(lab, believed * (zone < 0.01))
    return believed * (1.0 - zone * (1.0 - likelihood))


def _alpha(
    warped: Warped, source_skin: FloatArray, target_skin: FloatArray, feather_px: float, face_px: float
) -> FloatArray:
    """Share of the source at every pixel (h, w): 0 at the mesh's border, in the open mouth and where hair lies."""
    covered = (warped.part >= 0).astype(np.uint8)
    covered[[0, -1], :] = 0
    covered[:, [0, -1]] = 0
    depth = cv2.distanceTransform(covered, cv2.DIST_L2, cv2.DIST_MASK_5)
    ramp = np.clip(depth / max(feather_px, 1.0), 0.0, 1.0)
    alpha = ramp * ramp * (3.0 - 2.0 * ramp)
    zone = warped.values[:, :, 0]
    hair = zone * (1.0 - source_skin * target_skin) * covered
    hair = cv2.GaussianBlur(cv2.dilate(hair, np.ones((3, 3), np.uint8)), (0, 0), max(0.02 * face_px, 0.8))
    alpha = alpha * (1.0 - np.clip(hair, 0.0, 1.0))
    alpha *= 1.0 - _soft(warped.part == MOUTH, 0.008 * face_px)
    result: FloatArray = alpha.astype(np.float32) * covered
    return result


def _soft(mask: NDArray[np.bool_], sigma_px: float) -> FloatArray:
    soft: FloatArray = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma_px, 0.6))
    return soft


def _eye_share(source_points: Points, target_points: Points) -> float:
    """Share of the source's eyes: none where they are half closed and the target's are open."""
    ratio = _eye_opening(source_points) / max(_eye_opening(target_points), 1e-6)
    full, none = LID_TOLERANCE
    return float(np.clip((ratio - none) / (full - none), 0.0, 1.0))


def _eye_opening(points: Points) -> float:
    openings = []
    for ring in (RIGHT_EYE, LEFT_EYE):
        lids = np.linalg.norm(points[ring[12]] - points[ring[4]])
        openings.append(lids / max(float(np.linalg.norm(points[ring[8]] - points[ring[0]])), 1e-6))
    return float(np.mean(openings))


__all__ = ["Painted", "paint", "smoothed"]
