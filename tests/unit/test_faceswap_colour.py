"""Light and colour: what the relit source has in common with the target, and that it does not flicker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.chart import lay
from services.faceswap.colour import relight, skin_likelihood, smoothed, steadied, to_bgr, to_lab
from services.faceswap.face_engine import Memory
from services.faceswap.geometry import Similarity
from services.faceswap.template import template

SIZE = 120


def mesh(x: float = 60.0) -> np.ndarray:
    return Similarity(40.0, np.eye(3), np.array([x, 45.0, 0.0])).apply(template().points.astype(np.float64))


def skin(colour: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 30, (SIZE, SIZE, 1)).astype(np.float32), (0, 0), 1.5)
    return np.clip(np.array(colour, np.float32) + noise[..., np.newaxis] * np.ones(3, np.float32), 1, 254)


def test_lab_and_back_is_the_identity() -> None:
    bgr = np.random.default_rng(0).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    assert np.abs(to_bgr(to_lab(bgr)) - bgr).max() < 1.0


@pytest.mark.parametrize("target", [(90, 120, 180), (40, 55, 80), (180, 200, 230)])
def test_the_mean_colour_becomes_the_targets(target: tuple[float, float, float]) -> None:
    whole = np.ones((SIZE, SIZE), np.float32)
    source_lab, target_lab = to_lab(skin((120, 150, 200))), to_lab(skin(target, 1))
    lit = relight(source_lab, target_lab, whole, whole, whole, 80.0, 0.7 * whole)
    assert np.abs(lit.mean(axis=(0, 1)) - target_lab.mean(axis=(0, 1))).max() < 1.5


def test_light_from_one_side_comes_over_and_detail_stays() -> None:
    whole = np.ones((SIZE, SIZE), np.float32)
    ramp = np.linspace(1.1, 0.7, SIZE, dtype=np.float32)[np.newaxis, :, np.newaxis]
    source_lab, target_lab = to_lab(skin((120, 150, 200))), to_lab(ramp * skin((120, 150, 200), 1))
    lit = relight(source_lab, target_lab, whole, whole, whole, 80.0, whole)
    left, right = (lit[:, part, 0].mean() for part in (slice(10, 40), slice(-40, -10)))
    wanted_left, wanted_right = (target_lab[:, part, 0].mean() for part in (slice(10, 40), slice(-40, -10)))
    assert left - right > 0.6 * (wanted_left - wanted_right) > 3.0
    fine = [lab[:, :, 0] - cv2.GaussianBlur(lab[:, :, 0], (0, 0), 4.0) for lab in (lit, source_lab)]
    assert np.corrcoef(fine[0].ravel(), fine[1].ravel())[0, 1] > 0.95


def test_smoothing_a_constant_gives_the_constant_whatever_counts() -> None:
    weight = (np.random.default_rng(2).random((50, 40)) > 0.7).astype(np.float32)
    assert np.allclose(smoothed(np.full((50, 40, 2), 7.0, np.float32), weight, 9.0), 7.0, atol=1e-3)


def test_hair_is_less_like_skin_than_skin_in_shade() -> None:
    lab = to_lab(skin((120, 150, 200)))
    shade, hair = to_lab(0.8 * skin((120, 150, 200), 1)), to_lab(skin((25, 35, 50), 2))
    likelihood = skin_likelihood(
        np.concatenate([lab, shade, hair]), np.repeat([1.0, 0.0, 0.0], SIZE)[:, np.newaxis] * np.ones((1, SIZE))
    )
    parts = [likelihood[k * SIZE : (k + 1) * SIZE].mean() for k in range(3)]
    assert parts[0] > 0.8 and parts[0] >= parts[1] > 2 * parts[2]


def test_flickering_light_is_steadied_also_on_a_face_that_moves() -> None:
    memory, random = Memory(), np.random.default_rng(3)
    given, kept = [], []
    for number in range(40):
        laid = lay(mesh(55.0 + 0.3 * number), SIZE, SIZE)
        flicker = 1.0 + 0.05 * random.standard_normal()
        factors = np.full((*laid.small, 3), 1.2 * flicker, np.float32)
        steady = steadied(factors, laid, memory)
        given.append(factors[laid.covered].mean())
        kept.append(steady[laid.covered].mean())
        assert np.array_equal(steady[~laid.covered], factors[~laid.covered])
    assert np.std(np.diff(kept[5:])) < 0.4 * np.std(np.diff(given[5:]))
    assert abs(np.mean(kept[5:]) - 1.2) < 0.04


def test_a_lamp_switched_on_is_followed_at_once() -> None:
    memory, laid = Memory(), lay(mesh(), SIZE, SIZE)
    for _ in range(5):
        steadied(np.full((*laid.small, 3), 0.8, np.float32), laid, memory)
    lit = steadied(np.full((*laid.small, 3), 1.5, np.float32), laid, memory)
    assert abs(lit[laid.covered].mean() - 1.5) < 0.05


def test_a_picture_has_no_memory() -> None:
    laid = lay(mesh(), SIZE, SIZE)
    factors = np.random.default_rng(4).uniform(0.5, 2.0, (*laid.small, 3)).astype(np.float32)
    assert steadied(factors, laid, None) is factors
