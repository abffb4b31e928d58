"""Smoothing takes out what trembles, and lags little behind what moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.smoothing import Euro, MeshSmoother, OneEuro
from services.faceswap.template import LEFT_EYE, template

RATE = 30.0
FACE_PX = 200.0


def mesh(
    x: float = 300.0, y: float = 200.0, size: float = FACE_PX, turn: tuple[float, float, float] = (0, 0, 0)
) -> np.ndarray:
    still = template().points
    rotation, _ = cv2.Rodrigues(np.array(turn, np.float64))
    points = still @ np.asarray(rotation).T * (size / np.ptp(still[:, 1]))
    return (points + np.array([x, y, 0])).astype(np.float32)


def second_differences(path: np.ndarray) -> float:
    return float(np.sqrt((np.diff(path, 2, axis=0) ** 2).mean()))


def smoothed(path: list[np.ndarray]) -> np.ndarray:
    smoother = MeshSmoother()
    return np.stack([smoother.smooth(points, n / RATE) for n, points in enumerate(path)])


def test_a_still_face_stops_trembling() -> None:
    random = np.random.default_rng(1)
    path = [mesh() + random.normal(0, 0.6, (468, 3)).astype(np.float32) for _ in range(90)]
    result = smoothed(path)
    assert second_differences(result[20:]) < 0.25 * second_differences(np.stack(path)[20:])
    assert np.abs(result[30:].mean(axis=0) - mesh()).max() < 0.6


def test_common_trembling_is_damped_too() -> None:
    """The whole mesh shakes as one, as after a crop that was placed a little differently."""
    random = np.random.default_rng(2)
    path = [mesh(300 + dx, 200 + dy) for dx, dy in random.normal(0, 0.8, (90, 2))]
    assert second_differences(smoothed(path)[20:]) < 0.4 * second_differences(np.stack(path)[20:])


@pytest.mark.parametrize("speed", [0.2, 0.5, 1.0, 2.0])
def test_a_moving_face_is_not_left_behind(speed: float) -> None:
    """`speed` in face sizes per second."""
    path = [mesh(100 + speed * FACE_PX * n / RATE) for n in range(45)]
    lag = np.abs(smoothed(path)[20:] - np.stack(path)[20:]).max()
    assert lag < 0.012 * FACE_PX


def test_a_turning_and_growing_head_is_not_left_behind() -> None:
    path = [mesh(size=200 + 2 * n, turn=(0.1 * np.sin(n / 6), 0.4 * np.sin(n / 9), 0.02 * n)) for n in range(60)]
    lag = np.abs(smoothed(path)[20:] - np.stack(path)[20:])[:, :, :2].max()
    assert lag < 0.025 * FACE_PX


def test_a_blink_opens_the_filter_for_the_eye_alone() -> None:
    random = np.random.default_rng(3)
    blink = [max(0.0, np.sin(np.pi * (n - 30) / 6)) if 30 <= n < 36 else 0.0 for n in range(60)]
    lids = list(LEFT_EYE[9:])
    clean, path = [], []
    for closing in blink:
        points = mesh()
        points[lids, 1] += 9.0 * closing
        clean.append(points)
        path.append(points + random.normal(0, 0.4, points.shape).astype(np.float32))
    result = smoothed(path)
    closed = max(range(60), key=lambda n: blink[n])
    moved = result[closed + 1, lids, 1].mean() - result[25, lids, 1].mean()
    assert moved > 0.6 * 9.0 * max(blink[closed + 1], 0.8)
    chin = [152, 148, 377]
    assert second_differences(result[20:, chin]) < 0.4 * second_differences(np.stack(path)[20:, chin])


def test_a_pause_begins_anew() -> None:
    smoother = MeshSmoother()
    smoother.smooth(mesh(100), 0.0)
    assert np.allclose(smoother.smooth(mesh(400), 2.0), mesh(400), atol=0.01)
    assert np.allclose(smoother.smooth(mesh(100), 1.0), mesh(100), atol=0.01)  # time ran back


@pytest.mark.parametrize("rate", [12.0, 25.0, 60.0])
def test_constant_values_pass_unchanged(rate: float) -> None:
    one = OneEuro(Euro(1.0, 10.0))
    value = np.array([[3.0, -2.0]])
    for _ in range(10):
        assert np.allclose(one.filter(value, 1 / rate), value)


def test_the_filter_is_first_order_low_pass_at_rest() -> None:
    """A slope of zero leaves an exponential filter with time constant 1 / (2 pi cutoff)."""
    one, step_s, cutoff = OneEuro(Euro(2.0, 0.0)), 0.01, 2.0
    one.filter(np.zeros((1, 1)), step_s)
    for _ in range(round(1 / (2 * np.pi * cutoff) / step_s)):
        value = one.filter(np.ones((1, 1)), step_s)
    assert value[0, 0] == pytest.approx(1 - np.exp(-1), abs=0.04)
