"""Light and colour: what the relit source has in common with the target."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.chart import lay
from services.faceswap.colour import skin_likelihood, to_bgr, to_lab
from services.faceswap.geometry import Similarity
from services.faceswap.shading import light_factors, shown_share
from services.faceswap.template import template
from services.faceswap.texture import LEVELS, Texture

SIZE = 120


def mesh(x: float = 60.0) -> np.ndarray:
    return Similarity(40.0, np.eye(3), np.array([x, 45.0, 0.0])).apply(template().points.astype(np.float64))


def skin(colour: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 30, (SIZE, SIZE, 1)).astype(np.float32), (0, 0), 1.5)
    return np.clip(np.array(colour, np.float32) + noise[..., np.newaxis] * np.ones(3, np.float32), 1, 254)


def test_lab_and_back_is_the_identity() -> None:
    bgr = np.random.default_rng(0).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    assert np.abs(to_bgr(to_lab(bgr)) - bgr).max() < 1.0


def texture(colour: tuple[float, float, float]) -> Texture:
    plain = [np.full((side, side, 4), (*colour, 255), np.uint8) for side in LEVELS]
    return Texture(tuple(plain), np.ones((256, 256), np.float32))


def lit(source: Texture, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The texture in the target's light over the reduced picture, and where the face is."""
    laid = lay(mesh(), SIZE, SIZE)
    small = np.asarray(laid.reduce(target.astype(np.uint8)))
    factors = light_factors(source, small, laid, laid.roll(shown_share(laid)))
    return factors * source.levels[-1][0, 0, :3].astype(np.float32), laid.covered


@pytest.mark.parametrize("target", [(90, 120, 180), (40, 55, 80), (170, 190, 220)])
def test_the_mean_colour_becomes_the_targets(target: tuple[float, float, float]) -> None:
    picture = skin(target, 1)
    result, covered = lit(texture((120, 150, 200)), picture)
    assert np.abs(result[covered].mean(axis=0) - picture.mean(axis=(0, 1))).max() < 8.0


def test_light_from_one_side_comes_over() -> None:
    ramp = np.linspace(1.1, 0.7, SIZE, dtype=np.float32)[np.newaxis, :, np.newaxis]
    result, covered = lit(texture((110, 140, 210)), ramp * skin((120, 150, 200), 1))
    middle = int(np.median(np.nonzero(covered)[1]))
    left, right = result[:, :middle][covered[:, :middle]], result[:, middle:][covered[:, middle:]]
    assert left.mean() / right.mean() > 1.04
    even, _ = lit(texture((110, 140, 210)), skin((120, 150, 200), 1))
    assert abs(even[:, :middle][covered[:, :middle]].mean() / even[:, middle:][covered[:, middle:]].mean() - 1) < 0.03


def test_no_hue_strays_far_from_the_targets_skin_and_grey_stays_grey() -> None:
    result, covered = lit(texture((60, 180, 120)), np.repeat(skin((128, 128, 128), 3)[:, :, :1], 3, axis=2))
    assert np.ptp(result[covered], axis=1).max() < 6.0
    result, covered = lit(texture((200, 90, 60)), skin((100, 130, 190), 4))
    lab, wanted = to_lab(result), to_lab(np.full_like(result, (100, 130, 190)))
    away = np.abs(lab - wanted)[covered][:, 1:]
    assert np.median(away) < 6.5


def test_hair_is_less_like_skin_than_skin_in_shade() -> None:
    lab = to_lab(skin((120, 150, 200)))
    shade, hair = to_lab(0.8 * skin((120, 150, 200), 1)), to_lab(skin((25, 35, 50), 2))
    likelihood = skin_likelihood(
        np.concatenate([lab, shade, hair]), np.repeat([1.0, 0.0, 0.0], SIZE)[:, np.newaxis] * np.ones((1, SIZE))
    )
    parts = [likelihood[k * SIZE : (k + 1) * SIZE].mean() for k in range(3)]
    assert parts[0] > 0.8 and parts[0] >= parts[1] > 2 * parts[2]
