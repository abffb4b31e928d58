"""Geometry of the result: the target's pose and expression, a share of the source's face shape.

Both meshes are turned into the template's frame. Their difference there holds the shape of the two faces, but also
what the two are doing with them: an open mouth, a smile, half-closed eyes, raised brows. Those parts are measured and
taken out before the difference is added to the target's mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from services.faceswap.geometry import Points, Similarity, SimilarityFit
from services.faceswap.template import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LOWER_LIP_INNER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_BROW,
    RIGHT_EYE,
    UPPER_LIP_INNER,
    template,
)

# Lengths in distances between the outer eye corners.
EYE_REACH: Final = 0.11  # how far around the lids their opening is kept the target's
CORNER_REACH: Final = 0.22  # of a smile around the corners of the mouth
BROW_SHARE: Final = 0.6  # of the difference in brow height that counts as shape; the rest is expression
JAW_SHARE: Final = 0.6  # how far the chin follows the lower lip


@lru_cache(maxsize=1)
def rigid_weights() -> Points:
    """How little each point moves with expression, (468,): 0 for lids, lips, brows, cheeks and jaw."""
    points = template().points
    weights = np.ones(len(points))
    weights[points[:, 1] > 0.62] = 0.0  # below the nose
    for ring in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW):
        centre = points[list(ring)].mean(axis=0)
        reach = np.linalg.norm(points[list(ring)] - centre, axis=1).max()
        weights[np.linalg.norm(points - centre, axis=1) < 1.1 * reach] = 0.1
    weights[list(FACE_OVAL)] *= 0.5  # the outline is the network's least certain part
    weights[[33, 133, 263, 362]] = 3.0  # corners of the eyes stay where they are
    return weights


def head_pose(points: Points) -> Similarity:
    """The similarity from pixels (468, 3) to the template's frame."""
    return _template_fit().fit(points)


@lru_cache(maxsize=1)
def _template_fit() -> SimilarityFit:
    return SimilarityFit(template().points, rigid_weights())


def transfer_shape(source: Points, target: Points, strength: float) -> Points:
    """Mesh (468, 3) in pixels of the target with `strength` (0 to 1) of the source's shape; 0 gives the target's."""
    return new_mesh(head_pose(source).apply(source), target, strength, np.eye(3), head_pose(target))


def new_mesh(head: Points, target: Points, strength: float, turn: Points, pose: Similarity) -> Points:
    """Mesh (468, 3) in pixels of the target, with the target's pose and expression.

    Args:
        head: the source's (468, 3) in the template's frame.
        strength: share of the source's shape, 0 to 1.
        turn: rotation (3, 3) around the middle between the eyes, besides the target's pose.
        pose: the target's, `head_pose(target)`.
    """
    change = strength * identity_difference(head, pose.apply(target))
    moved = target + change @ pose.rotation / pose.scale
    middle = moved[[RIGHT_EYE[0], LEFT_EYE[0]]].mean(axis=0)
    turned: Points = (moved - middle) @ turn.T + middle
    return turned


def mean_head(meshes: Sequence[Points]) -> Points:
    """The mean head (468, 3) of one person's meshes in the template's frame; heads seen from the front count more.

    What the person was doing in the pictures stays in it; `identity_difference` takes it out.
    """
    heads, weights = [], []
    for points in meshes:
        pose = head_pose(points)
        heads.append(pose.apply(points))
        weights.append(max(0.1, float(pose.rotation[2, 2])) ** 4)
    mean: Points = np.average(heads, axis=0, weights=weights)
    return mean


def identity_difference(source_head: Points, target_head: Points) -> Points:
    """Source minus target in the template's frame (468, 3), without the difference in expression."""
    difference = source_head - target_head
    for measure, field in ((mouth_opening, _opening_field()), (_smile, _smile_field())):
        # What is left of it, since opening the mouth moves its middle and would pass for a smile.
        difference = difference - (measure(target_head + difference) - measure(target_head)) * field
    for ring, weights in _eye_fields():
        corners = [ring[0], ring[8]]
        kept = _moved_rigidly(target_head, source_head, corners) - target_head
        difference += weights[:, np.newaxis] * (kept - difference)
    for brow, eye, weights in _brow_fields():
        raised = difference[list(brow), 1].mean() - difference[[eye[0], eye[8]], 1].mean()
        difference[:, 1] -= (1.0 - BROW_SHARE) * raised * weights
    return difference


def _moved_rigidly(target_head: Points, source_head: Points, corners: list[int]) -> Points:
    """The target's points carried along as the two corners of an eye move to the source's."""
    plane = slice(0, 2)
    (x, y), (u, v) = target_head[corners, plane], source_head[corners, plane]
    along, to = y - x, v - u
    # Of two points the similarity is exact: a product of complex numbers.
    real, imaginary = along @ to, along[0] * to[1] - along[1] * to[0]
    turn = np.array([[real, imaginary], [-imaginary, real]]) / max(float(along @ along), 1e-12)
    moved = np.empty_like(target_head)
    moved[:, plane] = (target_head[:, plane] - x) @ turn + u
    moved[:, 2] = target_head[:, 2] + (source_head[corners, 2] - target_head[corners, 2]).mean()
    return moved


def mouth_opening(head: Points) -> float:
    return float(head[LOWER_LIP_INNER, 1] - head[UPPER_LIP_INNER, 1])


def _smile(head: Points) -> float:
    """By how much the corners of the mouth stand above the middle of the lips."""
    middle = (head[UPPER_LIP_INNER, 1] + head[LOWER_LIP_INNER, 1]) / 2
    return float(middle - head[[MOUTH_RIGHT, MOUTH_LEFT], 1].mean())


@lru_cache(maxsize=1)
def _opening_field() -> Points:
    """Motion (468, 3) per unit of mouth opening: a little of it lifts the upper lip, most drops the lower one."""
    points = template().points
    corner, lips = points[MOUTH_LEFT], points[list(INNER_LIPS)]
    middle_y = lips[:, 1].mean()
    across = np.clip(1.0 - (points[:, 0] / (1.1 * corner[0])) ** 2, 0.0, 1.0)
    below = points[:, 1] > middle_y
    below[list(INNER_LIPS[1:10])], below[list(INNER_LIPS[11:])] = True, False
    depth_below = np.clip((points[:, 1] - middle_y) / (points[152, 1] - middle_y), 0.0, 1.0)
    wide = np.exp(-0.5 * (points[:, 0] / (1.6 * corner[0])) ** 2)
    dropping = across * (1.0 - depth_below) + JAW_SHARE * wide * depth_below
    near_upper = np.exp(-0.5 * ((points[:, 1] - middle_y) / 0.12) ** 2)
    field = np.zeros_like(points)
    field[:, 1] = np.where(below, 0.75 * dropping, -0.25 * across * near_upper)
    return field


@lru_cache(maxsize=1)
def _smile_field() -> Points:
    """Motion (468, 3) per unit of smile: the corners go up, and out by as much."""
    points = template().points
    field = np.zeros_like(points)
    for corner in (MOUTH_RIGHT, MOUTH_LEFT):
        near = np.exp(-0.5 * (np.linalg.norm(points - points[corner], axis=1) / CORNER_REACH) ** 2)
        field[:, 1] -= near
        field[:, 0] += np.sign(points[corner, 0]) * near
    return field


def _nearness(ring: tuple[int, ...], reach: float) -> Points:
    """1 on a ring of points and inside, falling to 0 within `reach`; shape (468,)."""
    points = template().points[:, :2]
    distance = np.linalg.norm(points[:, np.newaxis] - points[list(ring)], axis=2).min(axis=1)
    nearness: Points = np.clip(1.0 - distance / reach, 0.0, 1.0)
    return nearness


@lru_cache(maxsize=1)
def _eye_fields() -> list[tuple[tuple[int, ...], Points]]:
    return [(ring, _nearness(ring, EYE_REACH)) for ring in (RIGHT_EYE, LEFT_EYE)]


@lru_cache(maxsize=1)
def _brow_fields() -> list[tuple[tuple[int, ...], tuple[int, ...], Points]]:
    return [
        (brow, eye, _nearness(brow, 2 * EYE_REACH)) for brow, eye in ((RIGHT_BROW, RIGHT_EYE), (LEFT_BROW, LEFT_EYE))
    ]
