"""The mesh engine: a person's texture and shape, put onto faces. See docs/adr/0005-texture-atlas.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from services.faceswap.blend import blend, lay_texture
from services.faceswap.chart import Laid, lay
from services.faceswap.chart import SIDE as CHART_SIDE
from services.faceswap.colour import relight, skin_likelihood, to_bgr, to_lab
from services.faceswap.detector import Picture
from services.faceswap.eyes import eyes_open
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.occlusion import occluder_share
from services.faceswap.shape import head_pose, identity_difference, mouth_opening, neutral_head
from services.faceswap.template import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, template
from services.faceswap.texture import SIDE, Texture, unroll
from services.faceswap.warp import region_around, warp_target
from services.faceswap.zones import hair_zone, replaced, texels

MARGIN: Final = 0.28  # of the face's longer side: the room in which the target's outline is bent
STEEP: Final = 0.6  # of the feather's width lies where the blend changes from a tenth to nine
LIGHT_STRENGTH: Final = 0.7
DARK: Final = 4.0  # of 255, added before dividing: in black there is no colour
MOST_LIGHT: Final = 6.0
ROUNDS, MAX_TURN_DEG = 1, 5.0
SILHOUETTE_PX: Final = 3.0  # of the reduced picture: along the silhouette what lies behind shines in
HIDDEN_TEXELS: Final = 5.0  # what lies so far from the place that is seen there is hidden
LAUGH_FROM, LAUGH_RAMP = 0.075, 0.02  # mouth opening of the source beyond the target's at which lips are left alone


@dataclass(frozen=True, eq=False)
class Likeness:
    """What the engine knows of a person: the head (468, 3) in the template's frame, the texture, how open the eyes."""

    head: Points
    texture: Texture
    eyes_open: float


class MeshEngine:
    """Implements `FaceEngine` without any network that makes pixels."""

    name = "mesh"

    def __init__(self, measure: Callable[[Picture, Points], Points] | None = None) -> None:
        self._measure = measure

    def prepare(self, views: Sequence[View]) -> Likeness:
        """Raises ValueError without any view."""
        if not views:
            raise ValueError("a person needs at least one picture")
        texture = unroll(views)
        return Likeness(neutral_head([view.points for view in views]), texture, float(np.mean([eyes_open(view.picture, view.points) for view in views])))

    def paint(
        self, person: Likeness, target: Picture, points: Points, look: Look, memory: Memory | None = None
    ) -> Painted:
        points = points.astype(np.float64)
        turn = self._counter_turn(person, target, points, look, memory)
        return self._painted(person, target, points, look, memory, turn)

    def _counter_turn(
        self, person: Likeness, target: Picture, points: Points, look: Look, memory: Memory | None
    ) -> Points:
        """The rotation (3, 3) by which the new face is turned so that its pose reads like the target's.

        Another face on the same head is taken, by networks as by people, for a slightly turned one. So the result is
        looked at once, and turned back by what was measured; in a film the first frames decide.
        """
        if self._measure is None:
            return np.eye(3)
        if memory is not None and "turn" in memory.values:
            return np.asarray(memory.values["turn"])
        turn = np.eye(3)
        wanted = head_pose(points).rotation
        for _ in range(ROUNDS):
            painted = self._painted(person, target, points, look, None, turn)
            rows, columns = painted.region.rows, painted.region.columns
            room = np.array([painted.region.left, painted.region.top, 0.0])
            looked_at = target[rows, columns].copy()
            looked_at[painted.changed] = painted.pixels[painted.changed]
            measured = head_pose(self._measure(looked_at, points - room)).rotation
            turn = _limited(wanted.T @ measured @ turn, MAX_TURN_DEG)
        if memory is not None:
            memory.values["turn"] = turn
        return turn

    def _painted(
        self, person: Likeness, target: Picture, points: Points, look: Look, memory: Memory | None, turn: Points
    ) -> Painted:
        pose = head_pose(points)
        target_head = pose.apply(points)
        change = look.shape_strength * identity_difference(person.head, target_head)
        moved_points = points + change @ pose.rotation / pose.scale
        centre = moved_points[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER]].mean(axis=0)
        moved_points = (moved_points - centre) @ turn.T + centre
        region = region_around([points, moved_points], *target.shape[:2], MARGIN)
        around, moved = warp_target(target, points, moved_points, region)
        local = moved_points - [region.left, region.top, 0.0]
        size = float(np.ptp(local[:, :2], axis=0).max())
        level = person.texture.level_for(SIDE / max(size, 1.0))
        texture = person.texture.levels[level]
        kept = np.clip((mouth_opening(person.head) - mouth_opening(target_head) - LAUGH_FROM) / LAUGH_RAMP, 0.0, 1.0)
        unlike = abs(person.eyes_open - eyes_open(target, points))
        share = person.texture.known * replaced(look.regions, round(16 * float(kept)), round(16 * unlike))
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
        occluded = occluder_share(around, laid, memory) if look.keep_occluders else None
        target_lab, texture = to_lab(laid.reduce(around)), _on_small(person.texture, laid)
        texture_lab = to_lab(texture[:, :, :3])
        covered = laid.covered.astype(np.float32)
        shown = laid.roll(_shown(laid))
        if occluded is not None:
            shown = shown * (1.0 - laid.reduce(occluded))
        bare = laid.roll(_bare())
        target_skin = shown * skin_likelihood(target_lab, shown * bare)
        source_skin = covered * skin_likelihood(texture_lab, covered * bare)
        face_px = float(np.sqrt(laid.covered.sum() / 0.7))
        alpha = _ramp(laid.covered, STEEP * look.feather * face_px)
        # At the border all of the target's light is taken, so that there is no seam; within, a part.
        core = cv2.GaussianBlur(alpha, (0, 0), max(0.05 * face_px, 1.0))
        strength = 1.0 - (1.0 - LIGHT_STRENGTH) * core
        lit = relight(texture_lab, target_lab, source_skin, target_skin, shown, face_px, strength)
        factors = np.clip((to_bgr(lit) + DARK) / (texture[:, :, :3] + DARK), 0.0, MOST_LIGHT)
        packed = laid.enlarge(np.dstack([factors, alpha]).astype(np.float32))
        if occluded is not None:
            packed[:, :, 3] *= 1.0 - occluded
        return packed


@lru_cache(maxsize=1)
def _bare() -> FloatArray:
    """Where no hair lies on most faces (SIDE, SIDE), 0 or 1: cheeks, nose, mouth and chin."""
    small = cv2.resize(hair_zone(), (CHART_SIDE, CHART_SIDE), interpolation=cv2.INTER_AREA)
    return (small < 0.01).astype(np.float32)


def _on_small(texture: Texture, laid: Laid) -> FloatArray:
    """The texture on the reduced picture (h, w, 4), float32."""
    level = texture.levels[-2]
    at = (laid.to_chart + 0.5) * np.float32(level.shape[0] / CHART_SIDE) - 0.5
    small = cv2.remap(level, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(small, np.float32)


def _triangles() -> np.ndarray:
    return np.ascontiguousarray(template().triangles)


def _shown(laid: Laid) -> FloatArray:
    """How well the target shows each texel of the chart, 0 to 1: faced, in front, and not at the silhouette."""
    faced = np.clip((laid.facing - 0.15) / 0.3, 0.0, 1.0)
    covered = np.pad(laid.covered.astype(np.uint8), 1)
    inwards = cv2.distanceTransform(covered, cv2.DIST_L2, cv2.DIST_MASK_3)[1:-1, 1:-1]
    depth = laid.unroll(np.asarray(inwards, np.float32)) / SILHOUETTE_PX - 0.5
    rows, columns = np.mgrid[0:CHART_SIDE, 0:CHART_SIDE]
    back = laid.unroll(laid.to_chart)
    off = np.hypot(back[:, :, 0] - columns, back[:, :, 1] - rows) / HIDDEN_TEXELS
    shown: FloatArray = (faced * np.clip(depth, 0.0, 1.0) * np.clip(2.0 - off, 0.0, 1.0)).astype(np.float32)
    return shown


def _ramp(covered: np.ndarray, feather_px: float) -> FloatArray:
    """0 at the border of the mesh, 1 from `feather_px` within, (h, w)."""
    padded = np.pad(covered.astype(np.uint8), 1, mode="edge")
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    ramp = np.clip((depth - 0.5) / max(feather_px, 1.0), 0.0, 1.0)
    return np.asarray(ramp * ramp * (3.0 - 2.0 * ramp), np.float32)


def _limited(rotation: Points, most_deg: float) -> Points:
    """The same axis, at most `most_deg`."""
    vector, _ = cv2.Rodrigues(rotation)
    angle = float(np.linalg.norm(vector))
    limited, _ = cv2.Rodrigues(vector * min(1.0, np.radians(most_deg) / max(angle, 1e-9)))
    return np.asarray(limited, np.float64)
