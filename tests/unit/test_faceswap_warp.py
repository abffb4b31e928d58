"""The bent target, colours and eyes, on pictures made by formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.colour import skin_likelihood, to_bgr, to_lab
from services.faceswap.eyes import eyes_open
from services.faceswap.geometry import Similarity
from services.faceswap.template import CHIN, LEFT_EYE, RIGHT_EYE, template
from services.faceswap.warp import _solve, region_around, warp_target


def mesh(scale: float = 60.0, x: float = 120.0, y: float = 90.0) -> np.ndarray:
    return Similarity(scale, np.eye(3), np.array([x, y, 0.0])).apply(template().points.astype(np.float64))


def picture(height: int = 250, width: int = 240, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3.0)
    return np.clip((blurred - 127) * 4 + 127, 0, 255).astype(np.uint8)


def test_an_unmoved_target_stays_bit_identical() -> None:
    target, points = picture(), mesh()
    region = region_around([points], 250, 240, 0.3)
    warped, moved = warp_target(target, points, points, region)
    assert not moved.any()
    assert (warped == target[region.rows, region.columns]).all()


def test_a_moved_target_carries_its_points_along_and_keeps_what_is_far() -> None:
    points = mesh()
    moved_points = points.copy()
    moved_points[points[:, 1] > 130, 1] += 6.0  # a longer chin
    target = np.zeros((250, 240, 3), np.uint8)
    chin = points[CHIN].round().astype(int)
    cv2.circle(target, (int(chin[0]), int(chin[1])), 3, (255, 255, 255), -1)
    region = region_around([points, moved_points], 250, 240, 0.3)
    warped, moved = warp_target(target, points, moved_points, region)
    rows, columns = np.nonzero(warped[:, :, 0] > 128)
    centre = np.array([columns.mean() + region.left, rows.mean() + region.top])
    np.testing.assert_allclose(centre, moved_points[CHIN, :2], atol=1.0)
    assert moved.any() and not moved[0].any() and not moved[-1].any() and not moved[:, 0].any()


@pytest.mark.parametrize("size", [1, 2, 7, 111])
def test_equations_are_solved_as_lapack_solves_them(size: int) -> None:
    random = np.random.default_rng(size)
    matrix, values = random.normal(size=(size, size)), random.normal(size=(size, 2))
    if size > 1:
        np.fill_diagonal(matrix, 0.0)  # as a spline's is nearly: without pivots this would divide by nothing
    expected = np.linalg.solve(matrix, values)
    _solve(matrix, values)
    assert np.allclose(values, expected, rtol=1e-8, atol=1e-10)


def test_the_region_never_leaves_the_picture() -> None:
    region = region_around([mesh(x=5.0, y=5.0)], 80, 70, 0.3)
    assert (region.left, region.top) == (0, 0)
    assert region.width <= 70 and region.height <= 80


def test_lab_and_back() -> None:
    pixels = picture(40, 41).astype(np.float32)
    np.testing.assert_allclose(to_bgr(to_lab(pixels)), pixels, atol=0.6)


def test_hair_is_not_skin() -> None:
    lab = np.full((40, 40, 3), [65.0, 15.0, 18.0], np.float32)
    lab += np.random.default_rng(0).normal(0, 2, lab.shape).astype(np.float32)
    lab[:10] -= [45.0, 10.0, 10.0]
    sure = np.zeros((40, 40), np.float32)
    sure[20:] = 1.0
    likelihood = skin_likelihood(lab, sure)
    assert likelihood[:10].max() < 0.05 and likelihood[20:].mean() > 0.8


@pytest.mark.parametrize("is_open", [True, False])
def test_eyes_are_told_open_from_closed(is_open: bool) -> None:
    points = mesh(scale=150.0)
    drawn = np.full((250, 240, 3), (150, 170, 210), np.uint8)
    for ring in (RIGHT_EYE, LEFT_EYE):
        outline = points[list(ring), :2].round().astype(np.int32)
        centre = tuple(int(v) for v in outline.mean(axis=0))
        if is_open:
            cv2.fillPoly(drawn, [outline], (240, 240, 240))
            cv2.circle(drawn, centre, 8, (20, 30, 40), -1)
        else:
            cv2.line(drawn, tuple(map(int, outline[0])), tuple(map(int, outline[8])), (30, 40, 60), 4)
    assert eyes_open(drawn, points) == (1.0 if is_open else 0.0)
