"""The mesh engine: one face onto one face, from two meshes and two pictures. See docs/adr/0003-mesh-face-engine.md."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.colour import relight, skin_likelihood, to_bgr, to_lab
from services.faceswap.detector import Picture
from services.faceswap.eyes import eyes_open
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.shape import head_pose, mouth_opening, transfer_shape
from services.faceswap.template import INNER_LIPS, LEFT_BROW, LEFT_EYE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE, template
from services.faceswap.warp import (
    EYES,
    MOUTH,
    SKIN,
    Warped,
    facing,
    mirrored_share,
    region_around,
    warp_source,
    warp_target,
)

MARGIN: Final = 0.28  # of the face's longer side: the room in which the target's outline is bent
LIGHT_STRENGTH: Final = 0.7
EYE_MARGIN: Final = 0.01  # of the face's width, around the lids
ZONE_GAIN: Final = 4.0  # between the points the zone is a ramp; hair close to the brows counts fully
HAIR_FEATHER: Final = 0.035
BROW_GAIN: Final = 1.4  # how far around the brows dark pixels count as brow rather than hair
SIDE_FROM: Final = 0.52  # distance from the midline at which hair may begin, in the template
HAIR_GAIN: Final = 1.6  # a thin strand is taken out wholly, too


class MeshEngine:
    """Implements `FaceEngine` without any network that makes pixels."""

    name = "mesh"

    def prepare(self, views: Sequence[View]) -> View:
        return views[0]

    def paint(self, person: View, target: Picture, points: Points, look: Look, memory: Memory | None = None) -> Painted:
        return paint(
            person.picture, person.points, target, points, shape_strength=look.shape_strength, feather=look.feather
        )


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
    values = np.column_stack([_hair_zone(), _lip_zone(), facing(target_points), _brow_zone()])
    warped = warp_source(source, source_points, local, region, values)
    face_px = float(np.ptp(points[:, :2], axis=0).mean())
    around_lab, texture_lab = to_lab(around.astype(np.float32)), to_lab(np.clip(warped.texture, 0, 255))
    source_skin, target_skin = _skin(warped, texture_lab), _skin(warped, around_lab)
    surface = (warped.part == SKIN) * warped.values[:, :, 2] * warped.seen * (1.0 - warped.values[:, :, 1])
    keep_eyes = abs(eyes_open(source, source_points) - eyes_open(target, target_points))
    keep_eyes = max(keep_eyes, float(mirrored_share(source_points).max()))  # mirrored eyes would squint
    keep_lips = _lips_kept(source_points, target_points)
    alpha = _alpha(warped, source_skin, target_skin, keep_eyes, keep_lips, feather * face_px, face_px)
    # At the border all of the target's light is taken, so that there is no seam; within, a part.
    core = cv2.GaussianBlur(alpha, (0, 0), max(0.05 * face_px, 1.0))
    light = 1.0 - (1.0 - LIGHT_STRENGTH) * core
    lit = relight(texture_lab, around_lab, source_skin, target_skin, surface, face_px, light)
    blended = around + alpha[:, :, np.newaxis] * (to_bgr(lit) - around)
    pixels = np.where(alpha[:, :, np.newaxis] > 0, np.clip(np.rint(blended), 0, 255), around).astype(np.uint8)
    return Painted(region, pixels, moved | (alpha > 0), alpha)


@lru_cache(maxsize=1)
def _hair_zone() -> FloatArray:
    """Where hair may lie over the face, per point (468,): forehead and sides, but not the brows."""
    points = template().points
    forehead = np.clip((-0.14 - points[:, 1]) / 0.06, 0.0, 1.0)
    sides = np.clip((np.abs(points[:, 0]) - SIDE_FROM) / 0.12, 0.0, 1.0)
    zone: FloatArray = np.maximum(forehead, sides).astype(np.float32)
    zone[[*RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE]] = 0.0
    return zone


@lru_cache(maxsize=1)
def _brow_zone() -> FloatArray:
    """1 at the points of the brows, 0 elsewhere (468,)."""
    zone = np.zeros(len(template().points), np.float32)
    zone[[*RIGHT_BROW, *LEFT_BROW]] = 1.0
    return zone


@lru_cache(maxsize=1)
def _lip_zone() -> FloatArray:
    """1 at the points of the lips, 0 elsewhere (468,)."""
    zone = np.zeros(len(template().points), np.float32)
    inner, outer = template().points[list(INNER_LIPS)], template().points[list(OUTER_LIPS)]
    low, high = np.minimum(inner.min(axis=0), outer.min(axis=0)), np.maximum(inner.max(axis=0), outer.max(axis=0))
    inside = ((template().points[:, :2] >= low[:2]) & (template().points[:, :2] <= high[:2])).all(axis=1)
    zone[inside] = 1.0
    return zone


def _lips_kept(source_points: Points, target_points: Points) -> float:
    """Share of the target's lips that stays: all where the source laughs and the target's mouth is closed."""
    opening = [mouth_opening(head_pose(points).apply(points)) for points in (source_points, target_points)]
    return float(np.clip((opening[0] - opening[1] - 0.075) / 0.02, 0.0, 1.0))


def _skin(warped: Warped, lab: FloatArray) -> FloatArray:
    """Which pixels of a picture on the mesh are skin (h, w), 0 to 1, by the colour of cheeks, nose and chin."""
    on_face = (warped.part == SKIN).astype(np.float32)
    zone = warped.values[:, :, 0]
    facing_both = np.minimum(warped.seen, warped.values[:, :, 2])
    likelihood = skin_likelihood(lab, on_face * (zone < 0.01) * (facing_both > 0.9))
    skin: FloatArray = on_face * facing_both * likelihood
    return skin


def _alpha(
    warped: Warped,
    source_skin: FloatArray,
    target_skin: FloatArray,
    keep_eyes: float,
    keep_lips: float,
    feather_px: float,
    face_px: float,
) -> FloatArray:
    """Share of the source at every pixel (h, w).

    0 at the mesh's border, in the open mouth, where hair lies, and where the source does not show it; less where the
    target's eyes and lips are to be kept (shares from 0 to 1).
    """
    covered = (warped.part >= 0).astype(np.uint8)
    covered[[0, -1], :] = 0
    covered[:, [0, -1]] = 0
    depth = cv2.distanceTransform(covered, cv2.DIST_L2, cv2.DIST_MASK_5)
    ramp = np.clip(depth / max(feather_px, 1.0), 0.0, 1.0)
    alpha = ramp * ramp * (3.0 - 2.0 * ramp)
    zone = warped.values[:, :, 0]
    zone = np.clip(ZONE_GAIN * zone, 0.0, 1.0) * (1.0 - np.clip(BROW_GAIN * warped.values[:, :, 3], 0.0, 1.0))
    hair = zone * (1.0 - np.sqrt(source_skin * target_skin)) * covered
    lying = cv2.dilate(hair.astype(np.float32), _disc(0.5 * HAIR_FEATHER * face_px))
    alpha = alpha * (1.0 - np.clip(HAIR_GAIN * _soft(lying, HAIR_FEATHER * face_px), 0.0, 1.0))
    alpha *= 1.0 - keep_lips * _soft(warped.values[:, :, 1], 0.02 * face_px)
    alpha *= _soft(np.where(covered > 0, warped.seen, 1.0), 0.02 * face_px)
    alpha *= 1.0 - _soft(warped.part == MOUTH, 0.008 * face_px)
    eyes = cv2.dilate((warped.part == EYES).astype(np.uint8), _disc(EYE_MARGIN * face_px))
    alpha *= 1.0 - keep_eyes * _soft(eyes, EYE_MARGIN * face_px)
    result: FloatArray = alpha.astype(np.float32) * covered
    return result


def _disc(radius_px: float) -> NDArray[np.uint8]:
    side = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _soft(mask: NDArray[Any], sigma_px: float) -> FloatArray:
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(sigma_px, 0.6)), np.float32)
