"""Triangles to dense maps, against the formula of an affine map on a regular grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.faceswap.raster import rasterise


def grid_mesh(side: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(side * side, 3) points `step` apart and the triangles between them, seen from the front."""
    y, x = np.mgrid[0:side, 0:side] * step
    points = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1)
    index = np.arange(side * side).reshape(side, side)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    return points, triangles.astype(np.int32)


coefficient = st.floats(-2.0, 2.0, allow_nan=False)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[coefficient] * 6))
def test_an_affine_map_of_the_corners_is_that_affine_map_at_every_pixel(numbers: tuple[float, ...]) -> None:
    matrix = np.array(numbers).reshape(2, 3)
    points, triangles = grid_mesh(5, 4.0)
    values = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    dense, owner = rasterise(points, triangles, values, 17, 17)
    assert (owner >= 0).all()
    y, x = np.mgrid[0:17, 0:17]
    expected = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(dense, expected, atol=1e-4)


def test_one_remap_through_the_map_is_opencvs_affine_warp() -> None:
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8), (0, 0), 2.0)
    matrix = np.array([[0.8, 0.2, 5.0], [-0.1, 0.9, 9.0]])  # from the result to the picture
    points, triangles = grid_mesh(6, 8.0)
    values = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    dense, _ = rasterise(points, triangles, values, 40, 40)
    ours = cv2.remap(picture, dense[:, :, 0], dense[:, :, 1], cv2.INTER_LINEAR)
    oracle = cv2.warpAffine(picture, matrix, (40, 40), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert np.abs(ours.astype(int) - oracle.astype(int)).max() <= 2  # the two round coordinates differently


def test_triangles_seen_from_behind_are_left_out() -> None:
    points, triangles = grid_mesh(3, 5.0)
    _, owner = rasterise(points, triangles[:, ::-1].copy(), points, 11, 11)
    assert (owner == -1).all()


@pytest.mark.parametrize("first", [0, 1])
def test_the_nearest_triangle_wins_whatever_the_order(first: int) -> None:
    points = np.array([[0, 0, 5], [9, 0, 5], [0, 9, 5], [0, 0, 1], [9, 0, 1], [0, 9, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)[[first, 1 - first]]
    dense, owner = rasterise(points, triangles, points[:, 2:], 10, 10)
    assert (dense[owner >= 0] == 1.0).all()


def test_parts_outside_the_map_are_cut_off() -> None:
    points = np.array([[-20, -20, 0], [40, -20, 0], [-20, 40, 0]], np.float32)
    dense, owner = rasterise(points, np.array([[0, 1, 2]], np.int32), points[:, :2], 7, 9)
    assert dense.shape == (7, 9, 2) and (owner == 0).all()
    np.testing.assert_allclose(dense[6, 8], [8.0, 6.0], atol=1e-4)
