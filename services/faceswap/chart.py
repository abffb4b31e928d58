"""A fixed map of the face: 96 x 96 texels on which every face lies alike, whatever its pose.

The mesh is unrolled from a cylinder around the head. Which triangle each texel lies in is worked out once; to unroll a
picture is then one gather and one remap. Measures that need to know what a place on the face is (a cheek, a brow, a
nostril) or that follow it through a film are taken here, and their results are laid back over the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.raster import rasterise
from services.faceswap.template import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    template,
)

SIDE: Final = 96  # texels
AXIS_Z: Final = 1.1  # of the cylinder, in the template's frame: behind the ears
FACE_PX: Final = 100.0  # a picture is reduced, by a whole number, until the face is about so large
NO_MAP: Final[Any] = None  # both coordinates are in the first
NOSTRILS: Final = ((98, 97, 2, 20, 60), (327, 326, 2, 250, 290))


@dataclass(frozen=True, eq=False)
class Chart:
    """What is the same for every face. Maps are (SIDE, SIDE); soft ones go from 0 to 1.

    Attributes:
        at: where each point of the mesh lies on the chart (468, 2), in texels; whole numbers are centres.
        corners, weights: (SIDE, SIDE, 3), points around each texel and their shares.
        inside: which texels belong to the face.
        normals: (SIDE, SIDE, 3) of the mean face, outwards.
        mirror_x: columns in mirrored order: `map[:, mirror_x]` is the mirror image of a map.
        brows, eyes, lips, nostrils: soft maps, with the room that hairs, lashes and colour take around them.
        border: distance to the nearest texel outside, in texels.
        head: (SIDE, SIDE, 3), the mean face.
        triangles: (t, 3) of the mesh.
    """

    at: FloatArray
    corners: NDArray[np.int32]
    weights: FloatArray
    inside: NDArray[np.bool_]
    normals: FloatArray
    mirror_x: NDArray[np.int64]
    brows: FloatArray
    eyes: FloatArray
    lips: FloatArray
    nostrils: FloatArray
    border: FloatArray
    head: FloatArray
    triangles: NDArray[np.int32]


@lru_cache(maxsize=1)
def chart() -> Chart:
    """The chart, worked out once from the template."""
    mesh = template()
    points = mesh.points.astype(np.float64)
    angle = np.arctan2(points[:, 0], AXIS_Z - points[:, 2])
    plane = np.stack([angle / np.abs(angle).max(), points[:, 1]], axis=1)
    plane[:, 1] = 2.0 * (plane[:, 1] - points[:, 1].min()) / np.ptp(points[:, 1]) - 1.0
    at = ((plane + 1.0) / 2.0 * (SIDE - 3) + 1.0).astype(np.float32)
    flat = np.column_stack([at, np.zeros(len(at), np.float32)])
    _, owner = rasterise(flat, mesh.triangles, np.zeros((len(at), 1), np.float32), SIDE, SIDE)
    inside = owner >= 0
    corners = mesh.triangles[np.maximum(owner, 0)].astype(np.int32)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    weights = _barycentric(at[corners], np.stack([columns, rows], axis=2))
    head = (points[corners] * weights[..., np.newaxis]).sum(axis=2)
    normals = point_normals(points)
    normals = (normals[corners] * weights[..., np.newaxis]).sum(axis=2)
    normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    lips = _filled(at, [OUTER_LIPS, INNER_LIPS], 3.0)
    return Chart(
        at=at,
        corners=corners,
        weights=weights.astype(np.float32),
        inside=inside,
        normals=normals.astype(np.float32),
        mirror_x=np.arange(SIDE)[::-1].copy(),
        brows=_filled(at, [RIGHT_BROW, LEFT_BROW], 4.0),
        eyes=_filled(at, [RIGHT_EYE, LEFT_EYE], 5.0),
        lips=lips,
        nostrils=_filled(at, list(NOSTRILS), 2.5),
        border=np.asarray(cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 5), np.float32)[
            1:-1, 1:-1
        ],
        head=head.astype(np.float32),
        triangles=np.ascontiguousarray(mesh.triangles, np.int32),
    )


def _barycentric(corners: Points, at: Points) -> Points:
    a, b, c = (corners[:, :, k].astype(np.float64) for k in range(3))
    ab, ac, ap = b - a, c - a, at - a
    area = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
    area = np.where(np.abs(area) < 1e-9, 1.0, area)
    wb = (ap[..., 0] * ac[..., 1] - ap[..., 1] * ac[..., 0]) / area
    wc = (ab[..., 0] * ap[..., 1] - ab[..., 1] * ap[..., 0]) / area
    weights: Points = np.clip(np.stack([1.0 - wb - wc, wb, wc], axis=2), 0.0, 1.0)
    return weights


def _filled(at: FloatArray, rings: list[tuple[int, ...]], reach: float) -> FloatArray:
    """1 within the hull of each ring, falling to 0 over `reach` texels."""
    hulls = np.ones((SIDE, SIDE), np.uint8)
    for ring in rings:
        cv2.fillConvexPoly(hulls, cv2.convexHull(np.round(at[list(ring)]).astype(np.int32)), 0)
    distance = cv2.distanceTransform(hulls, cv2.DIST_L2, 5)
    soft: FloatArray = np.clip(1.0 - distance / reach, 0.0, 1.0).astype(np.float32)
    return soft


@numba.njit(cache=True, nogil=True)
def _normals(points: Points, triangles: NDArray[np.int32], out: Points) -> None:
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1], points[j, 2] - points[i, 2]
        vx, vy, vz = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1], points[k, 2] - points[i, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (i, j, k):
            out[corner, 0] -= nx
            out[corner, 1] -= ny
            out[corner, 2] -= nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2) + 1e-12
        for c in range(3):
            out[i, c] /= length


def point_normals(points: Points) -> Points:
    """Outward unit normals (468, 3) of a mesh; z is negative where it faces the viewer."""
    out = np.zeros((len(points), 3))
    _normals(np.ascontiguousarray(points, np.float64), template().triangles, out)
    return out


@dataclass(frozen=True, eq=False)
class Laid:
    """A mesh over a picture of (height, width), ready to go to the chart and back.

    Attributes:
        step: by which the picture is reduced; a whole number.
        small: (height, width) of the reduced picture, rounded up.
        to_small: (SIDE, SIDE, 2), where each texel lies in the reduced picture.
        facing: (SIDE, SIDE), cosine between the surface and the viewer; negative where turned away.
        to_chart: (small height, small width, 2), which texel lies at each pixel of the reduced picture.
        covered: (small height, small width), where the mesh is.
    """

    height: int
    width: int
    step: int
    small: tuple[int, int]
    to_small: FloatArray
    facing: FloatArray
    to_chart: FloatArray
    covered: NDArray[np.bool_]

    def reduce(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A picture (height, width) or (height, width, c) at the reduced size."""
        if self.step == 1:
            return picture
        rows, columns = self.height // self.step, self.width // self.step
        whole = np.ascontiguousarray(picture[: rows * self.step, : columns * self.step])
        small = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        bottom, right = self.small[0] - rows, self.small[1] - columns
        if bottom or right:
            small = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return np.asarray(small)

    def enlarge(self, reduced: FloatArray) -> FloatArray:
        """The inverse of `reduce`, by linear interpolation."""
        if self.step == 1:
            return reduced
        size = (self.small[1] * self.step, self.small[0] * self.step)
        whole = np.asarray(cv2.resize(reduced, size, interpolation=cv2.INTER_LINEAR), np.float32)
        return whole[: self.height, : self.width]

    def unroll(self, reduced: NDArray[Any]) -> NDArray[Any]:
        """What a reduced picture shows of the face, (SIDE, SIDE) or (SIDE, SIDE, c)."""
        return np.asarray(cv2.remap(reduced, self.to_small, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def roll(self, texels: FloatArray) -> FloatArray:
        """The inverse: a map (SIDE, SIDE) or (SIDE, SIDE, c) over the reduced picture; 0 outside of the mesh."""
        laid = cv2.remap(texels, self.to_chart, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        laid[~self.covered] = 0.0
        return np.asarray(laid, np.float32)


def lay(points: Points, height: int, width: int) -> Laid:
    """Lays the mesh `points` (468, 3), in pixels, over a picture of (height, width)."""
    wanted = round(float(np.ptp(points[:, :2], axis=0).max()) / FACE_PX)
    step = max(1, min(wanted, height, width))
    small = (-(-height // step), -(-width // step))
    reduced = ((points + [0.5, 0.5, 0.0]) / step - [0.5, 0.5, 0.0]).astype(np.float32)
    fixed = chart()
    per_point = np.column_stack([reduced[:, :2], -point_normals(reduced)[:, 2]]).astype(np.float32)
    to_small = np.empty((SIDE, SIDE, 2), np.float32)
    facing = np.empty((SIDE, SIDE), np.float32)
    _spread(fixed.corners, fixed.weights, per_point, to_small, facing)
    to_chart, owner = rasterise(reduced, fixed.triangles, fixed.at, *small)
    return Laid(height, width, step, small, to_small, facing, to_chart, owner >= 0)


@numba.njit(cache=True, nogil=True)
def _spread(
    corners: NDArray[np.int32], weights: FloatArray, per_point: FloatArray, to_small: FloatArray, facing: FloatArray
) -> None:
    for row in range(corners.shape[0]):
        for column in range(corners.shape[1]):
            x = y = f = np.float32(0.0)
            for k in range(3):
                w, i = weights[row, column, k], corners[row, column, k]
                x += w * per_point[i, 0]
                y += w * per_point[i, 1]
                f += w * per_point[i, 2]
            to_small[row, column, 0] = x
            to_small[row, column, 1] = y
            facing[row, column] = f
