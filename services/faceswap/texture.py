"""A person's face unrolled: one texture on the chart's layout, cleaned and completed, from one or more pictures.

Each picture is laid out on the chart with a trust per texel: how squarely the place is seen, not behind the nose, not
under hair or a hand. The best picture comes first, the others fill what it does not show, then the mirror image of what
is there, and last a smooth continuation of the skin around. What is never done: to invent features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import chart, lay
from services.faceswap.colour import skin_likelihood, to_lab
from services.faceswap.detector import Picture
from services.faceswap.face_engine import View
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.occlusion import occluder_share
from services.faceswap.raster import rasterise
from services.faceswap.shadow import without_shadow
from services.faceswap.shape import head_pose, mouth_opening
from services.faceswap.template import template
from services.faceswap.warp import facing, mirrored_share
from services.faceswap.zones import SIDE as ZONE_SIDE
from services.faceswap.zones import covered, features, hair_zone, texels

SIDE: Final = 512  # texels of the finest level
LEVELS: Final = (512, 362, 256, 181, 128, 91, 64)  # sides, half an octave apart
MARGIN: Final = 0.12  # of the face, cut out with it
MAX_SHRINK: Final = 1.3  # a face this much larger than the texture is reduced first, so that sampling cannot alias
HIDDEN: Final = 0.04  # of the face's longer side: what lies so much deeper than the nearest surface is hidden
TRUST_FROM, TRUST_FULL = 0.05, 0.4  # of the trust's scale, from which a texel begins to, fully counts
EDGE: Final = 0.035  # of the face's longer side, along the silhouette: mixed with what lies behind
RIM: Final = 2.0  # texels of the chart at its border that no picture is trusted with
CONTINUED: Final = 0.4  # share of the texture where it was only continued
KNOWN_SOFT: Final = 3.0  # texels of the zones
HAIR_RIM: Final = 29  # texels, about: how far inwards from hair its single strands reach
OUTER_FROM, OUTER_RAMP = 0.36, 0.1  # distance from the midline in the template's frame
LAUGH_COST: Final = 0.5  # of a picture's merit, per unit of mouth opening in distances between the outer eye corners


@dataclass(frozen=True, eq=False)
class Texture:
    """A face without its light's surroundings.

    Attributes:
        levels: (n, n, 4) uint8 at falling sizes: BGR, and how much of the face itself was seen there (255) rather than
            continued from around.
        known: (zones.SIDE, zones.SIDE), 0 to 1, share of the texture that is worth showing: where it was only
            continued, skin that the target shows is better than none.
    """

    levels: tuple[NDArray[np.uint8], ...]
    known: FloatArray

    def level_for(self, face_px: float) -> NDArray[np.uint8]:
        """The coarsest level with about as many texels as a face has pixels on its longer side."""
        fitting = [level for level in self.levels if level.shape[0] >= 0.95 * face_px]
        return fitting[-1] if fitting else self.levels[0]


@dataclass(frozen=True, eq=False)
class _Layer:
    """One picture on the layout: BGR (SIDE, SIDE, 3) float32, trust (SIDE, SIDE) 0 to 1, merit of the picture."""

    colour: FloatArray
    trust: FloatArray
    merit: float


def unroll(views: Sequence[View]) -> Texture:
    """The texture of the person in `views`, one or more."""
    layers = sorted((_layer(view) for view in views), key=lambda layer: -layer.merit)
    colour, trust = layers[0].colour, layers[0].trust
    for layer in layers[1:]:
        colour, trust = _filled_from(colour, trust, _toned(layer.colour, layer.trust, colour, trust), layer.trust)
    mirrored_trust = np.ascontiguousarray(trust[:, ::-1])
    mirrored = _toned(np.ascontiguousarray(colour[:, ::-1]), mirrored_trust, colour, trust)
    colour, trust = _filled_from(colour, trust, mirrored, mirrored_trust)
    trust = np.clip(2.0 * trust, 0.0, 1.0).astype(np.float32)
    trust = _without_rim(trust)
    colour = without_shadow(colour, trust * _inside())
    colour = colour + (1.0 - trust)[:, :, np.newaxis] * (_continued(colour, _cautious(trust)) - colour)
    packed = np.dstack([np.clip(np.rint(colour), 0, 255), np.rint(255 * trust)]).astype(np.uint8)
    levels = [packed] + [np.asarray(cv2.resize(packed, (n, n), interpolation=cv2.INTER_AREA)) for n in LEVELS[1:]]
    seen = cv2.resize(trust, (ZONE_SIDE, ZONE_SIDE), interpolation=cv2.INTER_AREA)
    known = CONTINUED + (1.0 - CONTINUED) * cv2.GaussianBlur(seen, (0, 0), KNOWN_SOFT)
    return Texture(tuple(np.ascontiguousarray(level, np.uint8) for level in levels), known.astype(np.float32))


def _layer(view: View) -> _Layer:
    picture, points = _cut(view)
    height, width = picture.shape[:2]
    seen = facing(points) * (1.0 - mirrored_share(points))
    depth, _ = rasterise(points, template().triangles, points[:, 2:], height, width)
    at = np.column_stack([texels(SIDE), np.zeros(len(points))])
    dense, owner = rasterise(at, template().triangles, np.column_stack([points, seen]), SIDE, SIDE)
    x, y = np.ascontiguousarray(dense[:, :, 0]), np.ascontiguousarray(dense[:, :, 1])
    colour = cv2.remap(picture, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    nearest = cv2.remap(cv2.erode(depth, np.ones((3, 3), np.uint8)), x, y, cv2.INTER_LINEAR)
    size = float(np.ptp(points[:, :2], axis=0).max())
    hidden = (dense[:, :, 2] > nearest + HIDDEN * size).astype(np.float32)
    other = cv2.remap(occluder_share(picture, lay(points, height, width)), x, y, cv2.INTER_LINEAR)
    zone = np.asarray(cv2.resize(hair_zone(), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    other = np.maximum(zone * other, _hair(np.clip(colour, 0, 255), dense[:, :, 3], zone))
    outline, _ = rasterise(points, template().triangles, np.ones((len(points), 1), np.float32), height, width)
    inwards = cv2.distanceTransform(np.pad(outline[:, :, 0] > 0.5, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    edge = np.clip(cv2.remap(inwards, x, y, cv2.INTER_LINEAR) / (EDGE * size) - 0.5, 0.0, 1.0)
    rim = np.clip(cv2.resize(chart().border, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) / RIM - 0.5, 0.0, 1.0)
    inside = rim * ((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1) & (owner >= 0))
    soft = 0.012 * SIDE
    doubt = np.maximum(hidden, np.clip(1.5 * other, 0.0, 1.0))
    doubt = cv2.GaussianBlur(cv2.dilate(doubt, np.ones((5, 5), np.uint8)), (0, 0), soft)
    trust = inside * edge * dense[:, :, 3] * (1.0 - np.clip(doubt, 0.0, 1.0))
    trust = np.clip((trust - TRUST_FROM) / (TRUST_FULL - TRUST_FROM), 0.0, 1.0).astype(np.float32)
    opening = mouth_opening(head_pose(points).apply(points))
    merit = float(trust.mean()) * min(1.0, size / 160.0) ** 0.5 * (1.0 - LAUGH_COST * max(0.0, opening))
    return _Layer(np.clip(colour, 0, 255), trust, merit)


def _hair(colour: FloatArray, seen: FloatArray, zone: FloatArray) -> FloatArray:
    """What in the zone of forehead and sides is not of the colour of the cheeks, nose and chin (SIDE, SIDE), 0 to 1."""
    side = SIDE // 2
    small, seen, zone = (
        np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA), np.float32)
        for values in (colour, seen, zone)
    )
    skin = skin_likelihood(to_lab(small), (seen > 0.9) * (zone < 0.01) * (1.0 - features()))
    hair = (zone * (1.0 - np.sqrt(skin)) * (seen > 0.05)).astype(np.float32)
    wider = cv2.dilate(hair, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15)))
    return np.asarray(cv2.resize(wider, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def _cut(view: View) -> tuple[Picture, Points]:
    """The face cut out of its picture, reduced to about the size of the texture."""
    points = view.points.astype(np.float64)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    height, width = view.picture.shape[:2]
    margin = MARGIN * float((high - low).max())
    first = np.clip(np.floor(low - margin).astype(int), 0, [width - 1, height - 1])
    last = np.clip(np.ceil(high + margin).astype(int), first + 1, [width, height])
    cut = view.picture[first[1] : last[1], first[0] : last[0]]
    points = points - [first[0], first[1], 0.0]
    shrink = float((high - low).max()) / SIDE
    if shrink < MAX_SHRINK:
        return np.ascontiguousarray(cut), points
    size = np.maximum(1, np.round(np.array(cut.shape[1::-1]) / shrink)).astype(int)
    ratio = size / np.array(cut.shape[1::-1])
    small = cv2.resize(cut, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    points = (points + [0.5, 0.5, 0.0]) * [ratio[0], ratio[1], ratio.mean()] - [0.5, 0.5, 0.0]
    return np.asarray(small, np.uint8), points


def _filled_from(
    colour: FloatArray, trust: FloatArray, other: FloatArray, other_trust: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """`other` shows through where `colour` is not trusted."""
    share = (1.0 - trust) * other_trust
    total = trust + share
    mixed = (colour * trust[:, :, np.newaxis] + other * share[:, :, np.newaxis]) / np.maximum(total, 1e-6)[..., None]
    return np.where(total[:, :, np.newaxis] > 1e-6, mixed, colour).astype(np.float32), total


def _toned(colour: FloatArray, trust: FloatArray, like: FloatArray, like_trust: FloatArray) -> FloatArray:
    """Multiplied by the smooth ratio of `like` to it where both are trusted, so that neither tone nor light jumps."""
    both = trust * like_trust
    if float(both.sum()) < 0.002 * both.size:
        return colour
    ratio = (_continued(like, both) + 8.0) / (_continued(colour, both) + 8.0)
    toned: FloatArray = np.clip(colour * np.clip(ratio, 0.4, 2.5), 0, 255).astype(np.float32)
    return toned


def _continued(colour: FloatArray, trust: FloatArray) -> FloatArray:
    """The trusted texels smoothed, and carried on into the others: the finer, the nearer one is trusted."""
    side = SIDE // 4
    weight = cv2.resize(trust * _inside(), (side, side), interpolation=cv2.INTER_AREA)
    values = cv2.resize(colour * (trust * _inside())[:, :, np.newaxis], (side, side), interpolation=cv2.INTER_AREA)
    mean = values.sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
    result = np.broadcast_to(mean, values.shape).astype(np.float32)
    for sigma in (0.25, 0.12, 0.06, 0.02):
        near = cv2.GaussianBlur(weight, (0, 0), sigma * side, borderType=cv2.BORDER_CONSTANT)[:, :, np.newaxis]
        sum_ = cv2.GaussianBlur(values, (0, 0), sigma * side, borderType=cv2.BORDER_CONSTANT)
        local = sum_ / np.maximum(near, 1e-6)
        sure = np.clip(near / 0.2, 0.0, 1.0)
        result = result + sure * (local - result)
    return np.asarray(cv2.resize(result.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


def _without_rim(trust: FloatArray) -> FloatArray:
    """Less trust along the border of what is trusted at forehead and sides: single hairs lie there, and their edge."""
    inner = cv2.erode(trust, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (HAIR_RIM, HAIR_RIM)))
    inner = cv2.GaussianBlur(inner, (0, 0), HAIR_RIM / 4)
    return np.asarray(trust + _outer() * (np.minimum(trust, inner) - trust), np.float32)


@lru_cache(maxsize=1)
def _outer() -> FloatArray:
    """Forehead, temples and outer cheeks (SIDE, SIDE), 0 to 1: beside the features and below the mesh's rim."""
    head = np.asarray(cv2.resize(chart().head, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    sides = np.clip((np.abs(head[:, :, 0]) - OUTER_FROM) / OUTER_RAMP, 0.0, 1.0)
    zone = cv2.resize(hair_zone(), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.maximum(sides, zone).astype(np.float32)


def _cautious(trust: FloatArray) -> FloatArray:
    """Less trust along the border of what is trusted, where hair throws its shadow; never none at all."""
    inner = cv2.erode(trust, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25)))
    return np.asarray(trust * (0.03 + 0.97 * inner), np.float32)


def _inside() -> FloatArray:
    return np.asarray(cv2.resize(covered(), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
