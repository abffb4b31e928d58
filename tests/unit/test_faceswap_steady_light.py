"""Light in a film: it does not flicker, moves with the face, and follows a lamp that is switched on."""

from __future__ import annotations

import numpy as np

from services.faceswap.chart import Laid, lay
from services.faceswap.face_engine import Memory
from services.faceswap.geometry import Similarity
from services.faceswap.steady_light import EVERY, steady_light
from services.faceswap.template import template

SIZE = 120


def face_at(x: float = 60.0) -> Laid:
    mesh = Similarity(40.0, np.eye(3), np.array([x, 45.0, 0.0])).apply(template().points.astype(np.float64))
    return lay(mesh, SIZE, SIZE)


def even(laid: Laid, value: float) -> np.ndarray:
    return np.full((*laid.small, 3), value, np.float32)


def picture(laid: Laid, level: int = 120) -> np.ndarray:
    return np.full((*laid.small, 3), level, np.uint8)


def test_flicker_is_smoothed_on_a_face_that_moves() -> None:
    memory, random = Memory(), np.random.default_rng(3)
    given, kept = [], []
    for number in range(60):
        laid = face_at(55.0 + 0.2 * number)
        factors = even(laid, 1.2 * (1.0 + 0.05 * random.standard_normal()))
        steady = steady_light(lambda factors=factors: factors, picture(laid), laid, memory)
        given.append(factors.mean())
        kept.append(steady[laid.covered].mean())
        assert np.allclose(steady[~laid.covered], 1.0)
    assert np.std(np.diff(kept[5:])) < 0.4 * np.std(np.diff(given[5:]))
    assert abs(np.mean(kept[5:]) - 1.2) < 0.04


def test_what_lies_on_the_face_moves_with_it() -> None:
    """Light from the left stays on the left cheek, also in frames in which light is not looked for."""
    memory, calls = Memory(), []
    for x in (50.0, 60.0):
        laid = face_at(x)
        columns = np.arange(laid.small[1], dtype=np.float32) - laid.small[1] * x / SIZE
        factors = np.repeat(np.exp(-0.01 * columns)[np.newaxis, :, np.newaxis], laid.small[0], axis=0).repeat(3, axis=2)
        found = steady_light(lambda f=factors: calls.append(1) or f, picture(laid), laid, memory)
        away = np.abs(found[laid.covered] / factors[laid.covered] - 1.0)
        assert np.percentile(away, 95) < 0.01  # the rest lies where the mesh turns away
    assert len(calls) == 1


def test_light_is_looked_for_in_every_fourth_frame() -> None:
    memory, laid, calls = Memory(), face_at(), []
    for _ in range(4 * EVERY):
        steady_light(lambda: calls.append(1) or even(laid, 1.0), picture(laid), laid, memory)
    assert len(calls) == 5  # the first frame's is looked at again a little earlier


def test_a_lamp_switched_on_is_followed_at_once() -> None:
    memory, laid = Memory(), face_at()
    for _ in range(5):
        steady_light(lambda: even(laid, 0.8), picture(laid, 80), laid, memory)
    lit = steady_light(lambda: even(laid, 1.5), picture(laid, 150), laid, memory)
    assert abs(lit[laid.covered].mean() - 1.5) < 0.05


def test_a_picture_has_no_memory() -> None:
    laid = face_at()
    factors = np.random.default_rng(4).uniform(0.5, 2.0, (*laid.small, 3)).astype(np.float32)
    assert steady_light(lambda: factors, picture(laid), laid, None) is factors
