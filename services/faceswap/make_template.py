"""Makes `template.npz`: the mean face of the mesh network, its mirror pairs and its triangles.

The network's 468 points come without a list of triangles. Here the meshes of the faces in some pictures are aligned,
averaged and made symmetric; the triangles are the Delaunay triangulation of that face unrolled from a sphere around
the head. What comes out is the network's own geometry, not any one person's.

    python -m services.faceswap.make_template PICTURE [PICTURE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import Delaunay

from services.common.decode_picture import decode_picture
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.faceswap.finder import FaceFinder
from services.faceswap.geometry import Points, fit_similarity
from services.faceswap.mesh import POINTS
from services.faceswap.template import (
    CHIN,
    FACE_OVAL,
    FOREHEAD,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
    TEMPLATE_FILE,
)
from services.faceswap.weights import load_finder

MEAN_ROUNDS = 10
PAIRS = ((RIGHT_EYE_OUTER, LEFT_EYE_OUTER), (MOUTH_RIGHT, MOUTH_LEFT), (234, 454))
MOUTH_OPENING = 0.04
MAX_FLIPS = 200

Triangle = tuple[int, int, int]
HEAD_RADIUS = 1.1  # in distances between the outer eye corners; the centre of the sphere lies so far behind the face


def mean_face(meshes: list[Points]) -> tuple[Points, NDArray[np.intp]]:
    """The symmetric mean (468, 3), 1 between the outer eye corners, and the index of every point's mirror image."""
    mean = max(meshes, key=lambda points: float(np.ptp(points[:, 0]) / np.ptp(points[:, 2])))
    for _ in range(MEAN_ROUNDS):
        mean = np.mean([fit_similarity(points, mean).apply(points) for points in meshes], axis=0)
    mean = _upright(mean)
    mirror_image = mean * [-1.0, 1.0, 1.0]
    distance = np.linalg.norm(mean[:, np.newaxis] - mirror_image[np.newaxis], axis=2)
    _, mirror = linear_sum_assignment(distance + distance.T)
    return (mean + mirror_image[mirror]) / 2, mirror


def _upright(points: Points) -> Points:
    """Turned to the front and scaled, by three pairs of points that are each other's mirror image."""
    pairs = points[[left for _, left in PAIRS]] - points[[right for right, _ in PAIRS]]
    across = pairs.sum(axis=0) / np.linalg.norm(pairs.sum(axis=0))
    down = points[CHIN] - points[FOREHEAD]
    down = down - (down @ across) * across
    down /= np.linalg.norm(down)
    turned = points @ np.stack([across, down, np.cross(across, down)]).T
    turned = turned / np.linalg.norm(turned[LEFT_EYE_OUTER] - turned[RIGHT_EYE_OUTER])
    upright: Points = turned - (turned[LEFT_EYE_OUTER] + turned[RIGHT_EYE_OUTER]) / 2
    return upright


def unrolled_triangles(mean: Points) -> NDArray[np.int32]:
    """Triangles (n, 3) of the face seen from the centre of the head, all with the same winding.

    Delaunay, then flipped until the edges of eyelids, lips and outline are all there; what lies beyond the outline
    is dropped.
    """
    opened = _mouth_opened(mean)
    depth = HEAD_RADIUS - opened[:, 2]
    azimuth = np.arctan2(opened[:, 0], depth)
    elevation = np.arctan2(opened[:, 1] - opened[:, 1].mean(), np.hypot(opened[:, 0], depth))
    flat = np.stack([azimuth, elevation], axis=1)
    triangles = {_sorted({int(i) for i in triangle}) for triangle in Delaunay(flat).simplices}
    for ring in (RIGHT_EYE, LEFT_EYE, INNER_LIPS, OUTER_LIPS, FACE_OVAL):
        for edge in zip(ring, ring[1:] + ring[:1], strict=True):
            _insert_edge(flat, triangles, edge)
    outline = flat[list(FACE_OVAL)].astype(np.float32)
    rows = [
        triangle
        for triangle in sorted(triangles)
        if cv2.pointPolygonTest(outline, [float(v) for v in flat[list(triangle)].mean(axis=0)], False) > 0
    ]
    return np.array([row if _turn(*flat[list(row)]) > 0 else row[::-1] for row in rows], np.int32)


def _turn(a: Points, b: Points, c: Points) -> float:
    """Twice the signed area of a triangle."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _insert_edge(flat: Points, triangles: set[Triangle], edge: tuple[int, int]) -> None:
    """Flips edges that cross `edge` until none does (Sloan 1993)."""
    for _ in range(MAX_FLIPS):
        crossing = _flippable_crossing(flat, triangles, edge)
        if crossing is None:
            return
        first, second = (triangle for triangle in triangles if crossing <= set(triangle))
        apexes = set(first) ^ set(second)
        triangles -= {first, second}
        triangles |= {_sorted(apexes | {end}) for end in crossing}
    raise RuntimeError(f"edge {edge} cannot be inserted")


def _sorted(corners: set[int]) -> Triangle:
    first, second, third = sorted(corners)
    return first, second, third


def _flippable_crossing(flat: Points, triangles: set[Triangle], edge: tuple[int, int]) -> set[int] | None:
    """An inner edge that crosses `edge` and whose two triangles form a convex quadrilateral."""
    start, end = flat[list(edge)]
    for triangle in sorted(triangles):
        for i in range(3):
            a, b = triangle[i], triangle[(i + 1) % 3]
            if {a, b} & set(edge) or not _cross(start, end, flat[a], flat[b]):
                continue
            sharing = [other for other in triangles if {a, b} <= set(other)]
            if len(sharing) == 2:
                c, d = set(sharing[0]) ^ set(sharing[1])
                if _cross(flat[c], flat[d], flat[a], flat[b]):
                    return {a, b}
    return None


def _cross(a: Points, b: Points, c: Points, d: Points) -> bool:
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _mouth_opened(mean: Points) -> Points:
    """The lips pulled apart, so that the gap between them has an area."""
    lower, upper = np.array(INNER_LIPS[1:10]), np.array(INNER_LIPS[:10:-1])
    middle = (mean[lower] + mean[upper]) / 2
    half_width = abs(mean[INNER_LIPS[0], 0])
    lip_line = np.interp(mean[:, 0], middle[:, 0], middle[:, 1])
    below = mean[:, 1] > lip_line
    below[lower], below[upper] = True, False
    drop = MOUTH_OPENING * np.clip(1.0 - (mean[:, 0] / half_width) ** 4, 0.0, 1.0)
    opened = mean.copy()
    opened[below, 1] += drop[below]
    return opened


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    options = parser.parse_args()
    finder: FaceFinder = load_finder(Registry(CommonSettings().models_dir), average_mirrored=False)
    meshes = [face.mesh.points for path in options.pictures for face in finder.find(decode_picture(path.read_bytes()))]
    mean, mirror = mean_face([points.astype(np.float64) for points in meshes])
    triangles = unrolled_triangles(mean)
    np.savez_compressed(
        TEMPLATE_FILE, points=mean.astype(np.float32), mirror=mirror.astype(np.int32), triangles=triangles
    )
    print(
        f"{len(meshes)} faces, {len(triangles)} triangles, {int((mirror[mirror] != np.arange(POINTS)).sum())} unpaired"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
