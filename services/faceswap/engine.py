"""The mesh engine: a person's texture and shape, put onto faces. See docs/adr/0005-texture-atlas.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.aside import aside
from services.faceswap.blend import blend, lay_texture, with_share
from services.faceswap.chart import Laid, lay
from services.faceswap.detector import Picture
from services.faceswap.eyes import eyes_open
from services.faceswap.face_engine import Look, Memory, Painted, View
from services.faceswap.geometry import Points, Similarity
from services.faceswap.litert import FloatArray
from services.faceswap.occlusion import occluder_share
from services.faceswap.shading import face_width_px, light_factors, ramp, shown_share
from services.faceswap.shape import head_pose, mean_head, mouth_opening, new_mesh
from services.faceswap.steady_light import steady_light
from services.faceswap.template import IndexArray, template
from services.faceswap.texture import Texture, unroll
from services.faceswap.warp import Region, region_around, warp_target
from services.faceswap.zones import replaced, texels

MARGIN: Final = 0.2  # of the face's longer side: the room in which the target's outline is bent
STEEP: Final = 0.6  # share of the feather's width over which the blend goes from nothing to all
TURN_ROUNDS, MOST_TURN_DEG = 2, 5.5
FOLLOW: Final = 0.4  # share of a new frame in what is smoothed over a film
LAUGH_FROM, LAUGH_RAMP = 0.075, 0.02  # mouth opening of the source beyond the target's at which lips are left alone
TURN, TURNED_AT, SHARED = "turn", "turned at", "texture with share"
TURN_PER_POSE: Final = -0.3  # about both axes: the further a head looks away, the more of it is turned back
STEPS, STICK = 16, 0.75  # of the shares of lips and eyes; by how many steps a film's must leave the one it is at

Measure = Callable[[Picture, Points], Points]


@dataclass(frozen=True, eq=False)
class Target:
    """A face that is replaced: its picture BGR (H, W, 3), its mesh (468, 3), and its pose, from pixels to the head."""

    picture: Picture
    points: Points
    pose: Similarity


@dataclass(frozen=True, eq=False)
class Likeness:
    """What the engine knows of a person.

    `head` (468, 3) is in the template's frame, `eyes_open` goes from 0 to 1.
    """

    head: Points
    texture: Texture
    eyes_open: float


class MeshEngine:
    """Implements `FaceEngine` without any network that makes pixels.

    Args:
        measure: reads the mesh (468, 3) of a face in a picture, told about where it is. With it the result's pose is
            looked at and corrected once per picture, or per face of a film; it takes two more paintings.
    """

    name = "mesh"

    def __init__(self, measure: Measure | None = None) -> None:
        self._measure = measure

    def prepare(self, views: Sequence[View]) -> Likeness:
        """Raises ValueError without any view."""
        if not views:
            raise ValueError("a person needs at least one picture")
        opening = float(np.mean([eyes_open(view.picture, view.points) for view in views]))
        return Likeness(mean_head([view.points for view in views]), unroll(views), opening)

    def paint(
        self, person: Likeness, target: Picture, points: Points, look: Look, memory: Memory | None = None
    ) -> Painted:
        points = points.astype(np.float64)
        face = Target(target, points, head_pose(points))
        if self._measure is None:
            turn: Points = np.eye(3)
        elif memory is not None and TURN in memory.values:
            turn = _turn_at(face.pose, memory)
        else:
            turn = _counter_turn(self._measure, person, face, look)
            if memory is not None:
                memory.values[TURN], memory.values[TURNED_AT] = turn, face.pose.rotation
        return _painted(person, face, look, memory, turn)


def _counter_turn(measure: Measure, person: Likeness, face: Target, look: Look) -> Points:
    """The rotation (3, 3) of the new face by which its pose reads like the target's.

    Another face on the same head is taken for a slightly turned one. So the result is looked at, and turned back by
    what was measured.
    """
    turn: Points = np.eye(3)
    for _ in range(TURN_ROUNDS):
        painted = _painted(person, face, look, None, turn)
        region = painted.region
        before = face.picture[region.rows, region.columns]
        result = np.where(painted.changed[:, :, np.newaxis], painted.pixels, before)
        found = head_pose(measure(result, face.points - [region.left, region.top, 0.0])).rotation
        turn = _limited(face.pose.rotation.T @ found @ turn, MOST_TURN_DEG)
    return turn


def _turn_at(pose: Similarity, memory: Memory) -> Points:
    """The counter-turn in a film's later frame: as measured, and more or less by how much the head has turned since.

    A function of the pose, so that it is about the same wherever in a film it was measured.
    """
    since = cv2.Rodrigues(pose.rotation @ memory.values[TURNED_AT].T)[0] * [[1.0], [1.0], [0.0]]
    change = np.asarray(cv2.Rodrigues(TURN_PER_POSE * since)[0], np.float64)
    return _limited(change @ memory.values[TURN], MOST_TURN_DEG)


def _limited(rotation: Points, most_deg: float) -> Points:
    """The same axis, at most `most_deg`."""
    vector = np.asarray(cv2.Rodrigues(rotation)[0], np.float64)
    angle = float(np.linalg.norm(vector))
    limited: Points = np.asarray(cv2.Rodrigues(vector * min(1.0, np.radians(most_deg) / max(angle, 1e-9)))[0])
    return limited


def _painted(person: Likeness, face: Target, look: Look, memory: Memory | None, turn: Points) -> Painted:
    target = face.picture
    new_points = new_mesh(person.head, face.points, look.shape_strength, turn, face.pose)
    region = region_around([face.points, new_points], target.shape[0], target.shape[1], MARGIN)
    box = _box_of(new_points, region)
    height, width = box[0].stop - box[0].start, box[1].stop - box[1].start
    local = new_points - [region.left + box[1].start, region.top + box[0].start, 0.0]
    texture = _texture(person, face, look, memory, float(np.ptp(local[:, :2], axis=0).max()))
    laying = aside(lay_texture, local, _triangles(), _texels(texture.shape[0]), texture, height, width)
    pixels, changed = warp_target(target, face.points, new_points, region)
    around = np.ascontiguousarray(pixels[box])
    fields = _fields(person, around, lay(local, height, width), look, memory)
    alpha = np.zeros(pixels.shape[:2], np.float32)
    pixels[box], alpha[box] = blend(around, laying.result(), fields)
    changed[box] |= alpha[box] > 0
    return Painted(region, pixels, changed, alpha)


def _texture(person: Likeness, face: Target, look: Look, memory: Memory | None, face_px: float) -> NDArray[np.uint8]:
    """The texture fit for a face of that size, its fourth channel the source's share by place on the face."""
    level = person.texture.level_for(face_px)
    opening = mouth_opening(face.pose.apply(face.points))
    laughs = (mouth_opening(person.head) - opening - LAUGH_FROM) / LAUGH_RAMP
    kept = _followed(memory, "lips", float(np.clip(laughs, 0.0, 1.0)))
    unlike = _followed(memory, "eyes", abs(person.eyes_open - eyes_open(face.picture, face.points)))
    steps = _step(memory, "lips step", kept), _step(memory, "eyes step", unlike)
    made = None if memory is None else memory.values.get(SHARED)
    if made is None or made[0] != (len(level), look.regions, *steps):
        texture = with_share(level, person.texture.known * replaced(look.regions, *steps))
        made = (len(level), look.regions, *steps), texture
        if memory is not None:
            memory.values[SHARED] = made
    shared: NDArray[np.uint8] = made[1]
    return shared


def _followed(memory: Memory | None, name: str, value: float) -> float:
    """The value; in a film, smoothed over frames."""
    if memory is None:
        return value
    before = float(memory.values.get(name, value))
    memory.values[name] = before + FOLLOW * (value - before)
    return float(memory.values[name])


def _step(memory: Memory | None, name: str, value: float) -> int:
    """The nearest of 0 to 16; in a film the one before is left only when it is clearly another."""
    wanted = STEPS * value
    if memory is None:
        return round(wanted)
    before = memory.values.get(name)
    if before is None or abs(wanted - before) > STICK:
        memory.values[name] = before = round(wanted)
    return int(before)


def _fields(person: Likeness, around: Picture, laid: Laid, look: Look, memory: Memory | None) -> FloatArray:
    """Factors of light for B, G and R, and the source's share by border and what lies before the face (h, w, 4)."""
    small = laid.reduce(around)
    occluded = occluder_share(around, laid, memory, small=small) if look.keep_occluders else None

    def find_light() -> FloatArray:
        shown = laid.roll(shown_share(laid))
        if occluded is not None:
            shown = (shown * (1.0 - laid.reduce(occluded))).astype(np.float32)
        return light_factors(person.texture, small, laid, shown)

    factors = steady_light(find_light, small, laid, memory)
    share = ramp(laid.covered, STEEP * look.feather * face_width_px(laid.covered))
    fields = laid.enlarge(np.dstack([factors, share]))
    if occluded is not None:
        fields[:, :, 3] *= 1.0 - occluded
    return fields


def _box_of(points: Points, region: Region) -> tuple[slice, slice]:
    """Rows and columns, within the region, of the box around the mesh."""
    low = np.floor(points[:, :2].min(axis=0)).astype(int) - [region.left, region.top] - 1
    high = np.ceil(points[:, :2].max(axis=0)).astype(int) - [region.left, region.top] + 2
    left, top = np.clip(low, 0, [region.width - 1, region.height - 1])
    right, bottom = np.clip(high, [left + 1, top + 1], [region.width, region.height])
    return slice(int(top), int(bottom)), slice(int(left), int(right))


@lru_cache(maxsize=16)
def _texels(side: int) -> FloatArray:
    return texels(side)


@lru_cache(maxsize=1)
def _triangles() -> IndexArray:
    return np.ascontiguousarray(template().triangles, np.int32)
