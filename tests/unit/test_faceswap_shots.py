"""Cuts are found; flashes, fades, pans and noise are none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from services.faceswap.shots import CutDetector


def place(seed: int, shift: float = 0.0, zoom: float = 1.0) -> np.ndarray:
    """Brightness (180, 320) of a room, seen from a camera that may move."""
    random = np.random.default_rng(seed)
    room = cv2.resize(random.integers(0, 255, (14, 24), dtype=np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)
    camera = np.array([[zoom, 0, -100 - shift], [0, zoom, -60]], np.float32)
    return np.asarray(cv2.warpAffine(room, camera, (320, 180)), np.uint8)


def cuts(frames: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [n for n, frame in enumerate(frames) if detector.is_cut(frame)]


def test_cuts_are_found_where_they_are() -> None:
    frames = [place(1)] * 10 + [place(2)] * 7 + [place(1)] * 3 + [place(3)]
    assert cuts(frames) == [0, 10, 17, 20]


def test_a_flash_is_no_cut() -> None:
    for flash in (np.full((180, 320), 255, np.uint8), np.clip(place(1).astype(int) * 2 + 60, 0, 255).astype(np.uint8)):
        assert cuts([place(1)] * 5 + [flash] * 2 + [place(1)] * 5) == [0]


def test_a_fade_to_another_place_through_black_is_one_cut() -> None:
    down = [(place(1) * level).astype(np.uint8) for level in np.linspace(1, 0, 8)]
    up = [(place(2) * level).astype(np.uint8) for level in np.linspace(0, 1, 8)]
    assert len(cuts([place(1)] * 3 + down + up + [place(2)] * 3)) == 2
    back = [(place(1) * level).astype(np.uint8) for level in np.linspace(0, 1, 8)]
    assert cuts([place(1)] * 3 + down + back) == [0]


@pytest.mark.parametrize("speed", [2.0, 6.0, 12.0])
def test_a_pan_is_no_cut(speed: float) -> None:
    assert cuts([place(4, shift=speed * n) for n in range(int(150 / speed))]) == [0]


def test_zoom_noise_and_changing_light_are_no_cuts() -> None:
    random = np.random.default_rng(0)
    frames = [
        np.clip(place(5, zoom=1 + 0.01 * n) * (1 + 0.4 * np.sin(n)) + random.normal(0, 8, (180, 320)), 0, 255)
        for n in range(30)
    ]
    assert cuts([frame.astype(np.uint8) for frame in frames]) == [0]


def test_any_size_of_frame_will_do() -> None:
    for height, width in ((16, 16), (97, 163), (1080, 1920)):
        frame = cv2.resize(place(1), (width, height))
        assert cuts([frame, frame, cv2.resize(place(2), (width, height))]) == [0, 2]
