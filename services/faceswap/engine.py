"""The mesh engine: a person's texture and shape, put onto faces. See docs/adr/0005-texture-atlas.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from services.faceswap.blend import blend, lay_texture
from services.faceswap.chart import Laid, lay
from services.faceswap.chart import SIDE as CHART_SIDE
from services.faceswap.colour import relight, skin_likelihood, to_bgr, to_lab
from services.faceswap.detector import Picture
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.occlusion import occluder_share
from services.faceswap.shape import head_pose, identity_difference, mouth_opening, neutral_head
from services.faceswap.template import template
from services.faceswap.texture import SIDE, Texture, unroll
from services.faceswap.warp import region_around, warp_target
from services.faceswap.zones import hair_zone, replaced, texels

MARGIN: Final = 0.28  # of the face's longer side: the room in which the target's outline is bent
LIGHT_STRENGTH: Final = 0.7
LAUGH_FROM, LAUGH_RAMP = 0.075, 0.02  # mouth opening of the source beyond the target's at which lips are left alone


@dataclass(frozen=True, eq=False)
class Likeness:
    """What the engine knows of a person: the head (468, 3) in the template's frame, and the texture."""

    head: Points
    texture: Texture


class MeshEngine:
    """Implements `FaceEngine` without any network that makes pixels."""

    name = "mesh"

    def prepare(self, views: Sequence[View]) -> Likeness:
        """Raises ValueError without any view."""
        if not views:
            raise ValueError("a person needs at least one picture")
        return Likeness(neutral_head([view.points for view in views]), unroll(views))

    def paint(
        self, person: Likeness, target: Picture, points: Points, look: Look, memory: Memory | None = None
    ) -> Painted:
        points = points.astype(np.float64)
        pose = head_pose(points)
        target_head = pose.apply(points)
        change = look.shape_strength * identity_difference(person.head, target_head)
        moved_points = points + change @ pose.rotation / pose.scale
        region = region_around([points, moved_points], *target.shape[:2], MARGIN)
        around, moved = warp_target(target, points, moved_points, region)
        local = moved_points - [region.left, region.top, 0.0]
        size = float(np.ptp(local[:, :2], axis=0).max())
        level = person.texture.level_for(SIDE / max(size, 1.0))
        texture = person.texture.levels[level]
        kept = np.clip((mouth_opening(person.head) - mouth_opening(target_head) - LAUGH_FROM) / LAUGH_RAMP, 0.0, 1.0)
        share = replaced(look.regions, round(16 * float(kept)))
        laid_texture = lay_texture(
            local, _triangles(), texels(texture.shape[0]), texture, share, region.height, region.width
        )
        laid = lay(local, region.height, region.width)
        fields = self._fields(person, around, laid, look, memory)
        pixels, alpha = blend(around, laid_texture, fields)
        return Painted(region, pixels, moved | (alpha > 0), alpha)

    def _fields(
        self, person: Likeness, around: Picture, laid: Laid, look: Look, memory: Memory | None
    ) -> FloatArray:
        """Factors of light for B, G and R and the source's share (h, w, 4)."""
        small = laid.reduce(around)
        face_px = float(np.ptp(np.nonzero(laid.covered), axis=1).mean()) + 1.0
        texture = _on_small(person.texture, laid)
        covered = laid.covered.astype(np.float32)
        facing = laid.roll(np.clip((laid.facing - 0.2) / 0.3, 0.0, 1.0).astype(np.float32))
        occluded = occluder_share(around, laid, memory) if look.keep_occluders else None
        target_lab, texture_lab = to_lab(small), to_lab(texture[:, :, :3])
        seen = texture[:, :, 3] / 255.0
        hair = laid.roll(_small_hair_zone())
        free = covered * facing
        if occluded is not None:
            free = free * (1.0 - laid.reduce(occluded))
        target_skin = free * skin_likelihood(target_lab, free * (hair < 0.01))
        source_skin = covered * seen * skin_likelihood(texture_lab, covered * (hair < 0.01))
        alpha = _ramp(laid.covered, look.feather * face_px)
        core = cv2.GaussianBlur(alpha, (0, 0), max(0.05 * face_px, 1.0))
        light = 1.0 - (1.0 - LIGHT_STRENGTH) * core
        lit = relight(texture_lab, target_lab, source_skin, target_skin, free, face_px, light)
        factors = np.clip((to_bgr(lit) + 4.0) / (texture[:, :, :3] + 4.0), 0.0, 6.0)
        packed = laid.enlarge(np.dstack([factors, alpha]).astype(np.float32))
        if occluded is not None:
            packed[:, :, 3] *= 1.0 - occluded
        return packed


def _triangles() -> np.ndarray:
    return np.ascontiguousarray(template().triangles)


def _small_hair_zone() -> FloatArray:
    return np.asarray(cv2.resize(hair_zone(), (CHART_SIDE, CHART_SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _on_small(texture: Texture, laid: Laid) -> FloatArray:
    """The texture on the reduced picture (h, w, 4), float32."""
    level = texture.levels[-2]
    at = (laid.to_chart + 0.5) * np.float32(level.shape[0] / CHART_SIDE) - 0.5
    small = cv2.remap(level, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(small, np.float32)


def _ramp(covered: np.ndarray, feather_px: float) -> FloatArray:
    """0 at the border of the mesh, 1 from `feather_px` within, (h, w)."""
    padded = np.pad(covered.astype(np.uint8), 1, mode="edge")
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    ramp = np.clip((depth - 0.5) / max(feather_px, 1.0), 0.0, 1.0)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)
