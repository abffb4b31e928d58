"""What lies before a face, on a face made by formula: shaded skin with brows, eyes and lips, under any light."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.chart import SIDE, chart, lay
from services.faceswap.face_engine import Memory
from services.faceswap.geometry import Similarity
from services.faceswap.occlusion import occluder_share
from services.faceswap.raster import rasterise
from services.faceswap.skin_model import logarithms, skin_distance
from services.faceswap.template import LEFT_BROW, LEFT_EYE, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE, template

HEIGHT, WIDTH = 260, 240
SKIN = np.array([130.0, 160.0, 205.0])
HAND = np.array([122.0, 154.0, 200.0])


def mesh(turn_deg: float = 0.0) -> np.ndarray:
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    return Similarity(95.0, turn, np.array([120.0, 95.0, 0.0])).apply(template().points.astype(np.float64))


def face(points: np.ndarray, skin: np.ndarray = SKIN, light: float = 1.0, noise_seed: int = 0) -> np.ndarray:
    """A face of one skin, lit from the upper left, before a grey wall."""
    fixed = chart()
    shade = 0.75 + 0.25 * (fixed.normals @ np.array([-0.4, -0.3, -0.85]))
    normals = np.zeros((468, 1))
    at = np.clip(np.round(fixed.at).astype(int), 0, SIDE - 1)
    normals[:, 0] = shade[at[:, 1], at[:, 0]]
    dense, owner = rasterise(points.astype(np.float32), template().triangles, normals, HEIGHT, WIDTH)
    picture = np.where((owner >= 0)[:, :, np.newaxis], dense[:, :, :1] * skin * light, 120.0)
    picture = np.ascontiguousarray(picture, np.float32)
    for ring, colour in (
        (RIGHT_BROW, (40, 50, 70)),
        (LEFT_BROW, (40, 50, 70)),
        (RIGHT_EYE, (200, 200, 200)),
        (LEFT_EYE, (200, 200, 200)),
        (OUTER_LIPS, (90, 90, 170)),
    ):
        outline = cv2.convexHull(np.round(points[list(ring), :2]).astype(np.int32))
        cv2.fillPoly(picture, [outline], tuple(float(c) * light for c in colour))
    noise = np.random.default_rng(noise_seed).normal(0, 1.5, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 1.0) + noise, 0, 255).astype(np.uint8)


def covered_by(picture: np.ndarray, colour: np.ndarray, left: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with an upright bar from `left`, of shaded colour, and where the bar is."""
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[60:, left : left + 44] = 1.0
    mask = cv2.GaussianBlur(mask, (0, 0), 0.8)[:, :, np.newaxis]
    stripes = 1.0 - 0.35 * (np.arange(picture.shape[0]) % 14 < 3)[:, np.newaxis, np.newaxis]
    mixed = picture * (1 - mask) + colour * stripes * mask
    return np.clip(mixed, 0, 255).astype(np.uint8), mask[:, :, 0] > 0.5


def core(points: np.ndarray) -> np.ndarray:
    laid = lay(points, HEIGHT, WIDTH)
    return laid.enlarge(laid.roll((chart().border > 4).astype(np.float32))) > 0.9


@pytest.mark.parametrize("skin", [SKIN, SKIN * 0.4, SKIN[[1, 1, 1]], SKIN[::-1]])
@pytest.mark.parametrize("turn_deg", [0.0, 25.0])
def test_nothing_lies_before_a_bare_face(skin: np.ndarray, turn_deg: float) -> None:
    points = mesh(turn_deg)
    share = occluder_share(face(points, skin), lay(points, HEIGHT, WIDTH))
    assert share[core(points)].mean() < 0.005


@pytest.mark.parametrize("colour", [(60, 160, 60), (180, 90, 40), (35, 35, 35)])
def test_a_thing_of_another_colour_is_found_and_nothing_else(colour: tuple[int, int, int]) -> None:
    points = mesh()
    picture, bar = covered_by(face(points), np.array(colour, float), 120)
    share = occluder_share(picture, lay(points, HEIGHT, WIDTH))
    inside = core(points)
    beside = inside & (cv2.dilate(bar.astype(np.uint8), np.ones((15, 15))) == 0)
    assert share[inside & bar].mean() > 0.8
    assert share[beside].mean() < 0.02
    assert share.min() >= 0.0 and share.max() <= 1.0


def test_a_hand_of_the_faces_colour_is_found_in_a_film_as_it_comes_and_forgotten_as_it_goes() -> None:
    points, memory = mesh(), Memory()
    laid, inside = lay(points, HEIGHT, WIDTH), core(points)
    for number in range(8):
        bare = occluder_share(face(points, light=1.0 + 0.01 * number, noise_seed=number), laid, memory)
    assert bare[inside].mean() < 0.005
    for number, left in enumerate((190, 170, 150, 135)):
        picture, bar = covered_by(face(points, noise_seed=20 + number), 0.42 * HAND, left)
        share = occluder_share(picture, laid, memory)
    assert occluder_share(picture, laid)[inside & bar].mean() < 0.2  # a single picture does not tell
    assert share[inside & bar].mean() > 0.6
    assert share[inside & (cv2.dilate(bar.astype(np.uint8), np.ones((21, 21))) == 0)].mean() < 0.03
    for number in range(3):
        share = occluder_share(face(points, noise_seed=40 + number), laid, memory)
    assert share[inside].mean() < 0.02


def test_a_hand_that_was_there_from_the_start_is_not_taken_for_the_face_for_long() -> None:
    points, memory = mesh(), Memory()
    laid, inside = lay(points, HEIGHT, WIDTH), core(points)
    for number in range(8):
        picture, _ = covered_by(face(points, noise_seed=number), 0.42 * HAND, 150)
        occluder_share(picture, laid, memory)
    for number in range(10):
        share = occluder_share(face(points, noise_seed=20 + number), laid, memory)
    assert share[inside].mean() < 0.02


def test_a_change_of_light_is_no_occluder() -> None:
    points, memory = mesh(), Memory()
    laid, inside = lay(points, HEIGHT, WIDTH), core(points)
    warm = np.array([0.9, 1.0, 1.08])
    for number in range(24):
        amount = number / 23
        picture = face(points, SKIN * ((1 - amount) + amount * warm), 1.0 - 0.35 * amount, number)
        assert occluder_share(picture, laid, memory)[inside].mean() < 0.005


def test_skin_in_shadow_is_skin() -> None:
    """A soft shadow over half of the face, as dark as a third, stays within what skin may be."""
    points = mesh()
    laid = lay(points, HEIGHT, WIDTH)
    shadow = np.clip((np.arange(WIDTH) - 90) / 60.0, 0, 1)[np.newaxis, :, np.newaxis]
    picture = (face(points) * (1.0 - 0.65 * shadow)).astype(np.uint8)
    visible = chart().inside & (laid.facing > 0.15)
    distance = skin_distance(logarithms(laid.unroll(laid.reduce(picture))), visible)
    assert np.median(distance[visible]) < 2.0
    assert occluder_share(picture, laid)[core(points)].mean() < 0.01


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (31, 17)])
def test_any_size_of_picture_is_answered(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 128, np.uint8)
    share = occluder_share(picture, lay(mesh(), *size), Memory())
    assert share.shape == size and np.isfinite(share).all()


def test_the_chart_and_back_is_the_identity_on_the_face() -> None:
    points = mesh(10.0)
    laid = lay(points, HEIGHT, WIDTH)
    smooth = cv2.GaussianBlur(face(points), (0, 0), 4.0)
    small = laid.reduce(smooth)
    back = laid.roll(laid.unroll(small).astype(np.float32))
    inside = cv2.erode(laid.covered.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(back - small)[inside].mean() < 2.0
