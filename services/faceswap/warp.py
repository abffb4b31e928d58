"""The target's picture bent to fit around the result's mesh; which part of it that takes; what a mesh shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.detector import Picture
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.shape import head_pose
from services.faceswap.template import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    NOSE_OUTLINE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    template,
)

MIN_MOVE_PX: Final = 0.02
CUBIC_TO_PX: Final = 120.0  # radius of the region
GRID: Final = 32  # cells across the region on which the target's displacement is computed
BORDER_KNOTS: Final = 16
MIRROR_YAW_DEG: Final = (24.0, 34.0)  # from here on, from there fully, the far half of the source is mirrored
FACING_NONE, FACING_FULL = 0.20, 0.50  # cosine to the viewer from which a point of the source begins to, fully counts


@dataclass(frozen=True)
class Region:
    """The part of the target picture that may change: a rectangle around an ellipse; pixels."""

    left: int
    top: int
    width: int
    height: int
    centre: tuple[float, float]  # of the ellipse, in the target picture
    radii: tuple[float, float]

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)


def region_around(meshes: list[Points], height: int, width: int, margin: float) -> Region:
    """The region around meshes: their box widened by `margin` of its longer side, clipped to the picture."""
    points = np.concatenate([mesh[:, :2] for mesh in meshes])
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    radii = (high - low) / 2 * 1.1 + margin * float((high - low).max())
    first = np.clip(np.floor(centre - radii).astype(int), 0, [width - 1, height - 1])
    last = np.clip(np.ceil(centre + radii).astype(int), first + 1, [width, height])
    return Region(
        left=int(first[0]),
        top=int(first[1]),
        width=int(last[0] - first[0]),
        height=int(last[1] - first[1]),
        centre=(float(centre[0]), float(centre[1])),
        radii=(float(radii[0]), float(radii[1])),
    )


def mirrored_share(source_points: Points) -> Points:
    """Share of the mirror image at every point (468,): 1 on the far half of a head turned by more than 34 degrees.

    The far half is seen at a flat angle, partly hidden by the nose, and the mesh is least certain there.
    """
    forward = head_pose(source_points).rotation.T @ np.array([0.0, 0.0, -1.0])
    yaw_deg = float(np.degrees(np.arctan2(forward[0], -forward[2])))  # positive: towards the picture's right
    low, high = MIRROR_YAW_DEG
    amount = np.clip((abs(yaw_deg) - low) / (high - low), 0.0, 1.0)
    towards_far = template().points[:, 0] * np.sign(yaw_deg)
    share: Points = amount * np.clip((towards_far + 0.10) / 0.08, 0.0, 1.0)
    return share


def facing(points: Points) -> Points:
    """How well every point of a mesh is seen, (468,): 1 faced, 0 turned away."""
    triangles = template().triangles
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a)  # length is twice the area, so large triangles count more
    total = np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], normals)
    cosine = total[:, 2] / np.maximum(np.linalg.norm(total, axis=1), 1e-9)
    seen: Points = np.clip((cosine - FACING_NONE) / (FACING_FULL - FACING_NONE), 0.0, 1.0)
    return seen


def warp_target(target: Picture, old: Points, new: Points, region: Region) -> tuple[Picture, NDArray[np.bool_]]:
    """Moves the mesh points `old` of the target picture to `new`, smoothly, and nothing outside the region's ellipse.

    Args:
        target: the whole picture (H, W, 3).
        old, new: (468, 3), pixels of the whole picture.

    Returns:
        The region (h, w, 3), and where it was moved at all (h, w); elsewhere it equals the target.
    """
    angles = np.linspace(0.0, 2 * np.pi, BORDER_KNOTS, endpoint=False)
    border = np.stack([np.cos(angles), np.sin(angles)], axis=1) * region.radii + region.centre
    knots = np.concatenate([new[KNOTS, :2], border])
    moves = np.concatenate([old[KNOTS, :2] - new[KNOTS, :2], np.zeros((BORDER_KNOTS, 2))])
    if float(np.abs(moves).max()) < MIN_MOVE_PX:
        return target[region.rows, region.columns].copy(), np.zeros((region.height, region.width), np.bool_)
    unit = max(region.radii)
    # At the cells' centres, where `cv2.resize` takes values to lie.
    middles = (np.arange(GRID) + 0.5) / GRID
    steps_x, steps_y = region.left + middles * region.width - 0.5, region.top + middles * region.height - 0.5
    field = _spline(knots / unit, moves, steps_x / unit, steps_y / unit)
    x, y = (steps_x[np.newaxis, :] - region.centre[0]), (steps_y[:, np.newaxis] - region.centre[1])
    # Nothing moves any more in the outermost cells, whose outer halves continue evenly.
    inwards = 1.0 - 1.0 / GRID - np.hypot(x / region.radii[0], y / region.radii[1])
    window = np.clip(inwards / 0.15, 0.0, 1.0)
    field *= (window * window * (3 - 2 * window)).astype(np.float32)
    size = (region.width, region.height)
    dx, dy = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in field)
    shape = region.height, region.width
    whole, parts, moved = np.empty(shape, np.int32), np.empty(shape, np.uint16), np.empty(shape, np.bool_)
    part, (left, top) = _surroundings(target, region)
    _places(dx, dy, region.left - left, region.top - top, whole, parts, moved)
    # Cubic sampling of a large face takes longer than all the rest, and there a pixel more or less is not seen.
    large = max(region.radii) > CUBIC_TO_PX
    interpolation = cv2.INTER_LINEAR if large else cv2.INTER_CUBIC
    warped = cv2.remap(
        part, whole.view(np.int16).reshape(*shape, 2), parts, interpolation, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(warped, np.uint8), moved


def _surroundings(target: Picture, region: Region) -> tuple[Picture, tuple[int, int]]:
    """The region with some room, because what is moved into it may come from outside; and where it begins."""
    room = max(region.width, region.height) // 4 + 2
    left, top = max(0, region.left - room), max(0, region.top - room)
    part = target[top : region.top + region.height + room, left : region.left + region.width + room]
    return part, (left, top)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _places(
    dx: FloatArray,
    dy: FloatArray,
    left: int,
    top: int,
    whole: NDArray[np.int32],
    parts: NDArray[np.uint16],
    moved: NDArray[np.bool_],
) -> None:
    """From displacements (h, w): where each pixel comes from, and whether from elsewhere than its own place.

    `whole` and `parts` are what `cv2.remap` takes fastest: pixels, x in the lower 16 bits and y in the upper ones, and
    32nds of a pixel.
    """
    least = np.float32(MIN_MOVE_PX * MIN_MOVE_PX)
    steps, half = np.float32(32.0), np.float32(0.5)
    room = 1024  # what is cut off after it is added is rounded down, though it be negative
    from_x = np.float32(left + room)
    for y in range(moved.shape[0]):
        from_y = np.float32(y + top + room)
        us, vs, whole_row, parts_row, moved_row = dx[y], dy[y], whole[y], parts[y], moved[y]
        for x in range(moved.shape[1]):
            is_moved = us[x] * us[x] + vs[x] * vs[x] > least
            u, v = us[x] * np.float32(is_moved), vs[x] * np.float32(is_moved)
            at_x = np.int32(steps * (np.float32(np.int32(x)) + from_x + u) + half)
            at_y = np.int32(steps * (from_y + v) + half)
            whole_row[x] = np.int32(((at_x >> 5) - room) & 0xFFFF) | np.int32(((at_y >> 5) - room) << 16)
            parts_row[x] = np.uint16(((at_y & 31) << 5) + (at_x & 31))
            moved_row[x] = is_moved


_RINGS = (FACE_OVAL, RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, INNER_LIPS, OUTER_LIPS)
KNOTS: Final = np.array(sorted({*NOSE_OUTLINE, *(point for ring in _RINGS for point in ring[::2])}))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _kernel(dx: float, dy: float) -> float:
    squared = dx * dx + dy * dy
    return 0.0 if squared < 1e-18 else squared * np.log(squared)


@numba.njit(cache=True, nogil=True)
def _kernel_matrix(knots: Points) -> Points:
    n = knots.shape[0]
    matrix = np.zeros((n + 3, n + 3))
    for i in range(n):
        for j in range(n):
            matrix[i, j] = _kernel(knots[i, 0] - knots[j, 0], knots[i, 1] - knots[j, 1])
        matrix[i, n] = matrix[n, i] = 1.0
        matrix[i, n + 1] = matrix[n + 1, i] = knots[i, 0]
        matrix[i, n + 2] = matrix[n + 2, i] = knots[i, 1]
        matrix[i, i] = 1e-6
    return matrix


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _solve(matrix: Points, values: Points) -> None:
    """Solves matrix (n, n) @ x = values (n, k), by elimination with pivots; x takes the place of `values`.

    LAPACK is as fast, but for a matrix of this size it wakes a thread and waits for it, however busy the machine is: on
    full cores for milliseconds.
    """
    size, sides = values.shape
    for step in range(size):
        pivot = step
        for row in range(step + 1, size):
            if abs(matrix[row, step]) > abs(matrix[pivot, step]):
                pivot = row
        for column in range(step, size):
            matrix[step, column], matrix[pivot, column] = matrix[pivot, column], matrix[step, column]
        for side in range(sides):
            values[step, side], values[pivot, side] = values[pivot, side], values[step, side]
        top, over = matrix[step], 1.0 / matrix[step, step]
        for row in range(step + 1, size):
            below = matrix[row]
            factor = below[step] * over
            for column in range(step + 1, size):
                below[column] -= factor * top[column]
            for side in range(sides):
                values[row, side] -= factor * values[step, side]
    for row in range(size - 1, -1, -1):
        for side in range(sides):
            rest = values[row, side]
            for after in range(row + 1, size):
                rest -= matrix[row, after] * values[after, side]
            values[row, side] = rest / matrix[row, row]


def _spline(knots: Points, values: Points, x: Points, y: Points) -> FloatArray:
    """Thin-plate spline through `values` (n, 2) at `knots` (n, 2), on the grid of x and y: (2, len(y), len(x))."""
    matrix = _kernel_matrix(knots)
    weights = np.concatenate([values, np.zeros((3, 2))])
    _solve(matrix, weights)
    across = ((x[:, np.newaxis] - knots[:, 0]) ** 2).astype(np.float32)
    down = ((y[:, np.newaxis] - knots[:, 1]) ** 2 + 1e-18).astype(np.float32)
    squared = (down[:, np.newaxis] + across).reshape(-1, len(knots))
    kernel = np.log(squared)
    kernel *= squared
    bent = (weights[:-3].T.astype(np.float32) @ kernel.T).reshape(2, len(y), len(x))
    constant, by_x, by_y = weights[-3:, :, np.newaxis, np.newaxis]
    return np.asarray(bent + (constant + by_x * x + by_y * y[:, np.newaxis]), np.float32)
