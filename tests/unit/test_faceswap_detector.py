"""The detector's geometry, and that faces are found small, turned, and next to each other in any orientation."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from services.common.models import Registry
from services.common.settings import REPOSITORY_ROOT
from services.faceswap.detector import Detection, shrunk, suppress_doubles, turn_back
from services.faceswap.finder import Face, FaceFinder
from services.faceswap.weights import load_finder


def package_picture(package: str, file: str) -> np.ndarray:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    picture = cv2.imread(str(Path(spec.submodule_search_locations[0]) / file))
    assert picture is not None
    return np.asarray(picture)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return load_finder(Registry(REPOSITORY_ROOT / "models"))


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return package_picture("skimage", "data/astronaut.png")[0:260, 90:350].copy()


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    return package_picture("insightface", "data/images/t1.jpg")


def rotated(picture: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turned counter-clockwise about its middle, on grey; and the affine transform of points."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    side = round(float(np.hypot(height, width)))
    matrix[:, 2] += [(side - width) / 2, (side - height) / 2]
    turned = cv2.warpAffine(picture, matrix, (side, side), borderValue=(120, 120, 120))
    return np.asarray(turned, np.uint8), matrix


def apart(face: Face, points: np.ndarray) -> float:
    """Mean distance of mesh points in sizes of the face."""
    size = float(np.ptp(points[:, :2], axis=0).max())
    return float(np.linalg.norm(face.mesh.points[:, :2] - points[:, :2], axis=1).mean()) / size


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_boxes_turn_back_with_their_picture(quarter_turns: int) -> None:
    """Oracle: numpy turns a picture in which the corners and keypoints are marked pixels."""
    height, width = 30, 50
    marks = np.array([[12, 7], [20, 9], [31, 25], [3, 28], [44, 2], [15, 15]])
    canvas = np.zeros((height, width), np.uint8)
    canvas[marks[:, 1], marks[:, 0]] = np.arange(1, 7)
    turned = np.rot90(canvas, quarter_turns)
    places = [np.argwhere(turned == number)[0][::-1] + 0.5 for number in range(1, 7)]
    centre, size = np.array([25.0, 15.0]), np.array([10.0, 6.0])
    box = np.array([centre, size if quarter_turns % 2 == 0 else size[::-1], *places], np.float32)
    middle = {0: centre, 1: [15, 25], 2: centre, 3: [15, 25]}[quarter_turns]
    box[0] = middle
    back = turn_back(box, quarter_turns, (height, width))
    assert back[2:] - 0.5 == pytest.approx(marks)
    assert back[0] == pytest.approx(centre) and back[1] == pytest.approx(size)


@pytest.mark.parametrize("scale", [0.07, 0.2, 0.5, 0.9, 1.0, 1.7])
def test_shrinking_keeps_the_mean_and_the_place(scale: float) -> None:
    rows, columns = np.mgrid[0:301, 0:403].astype(np.float32)
    picture = np.repeat((60 + 0.3 * columns + 0.15 * rows)[:, :, None], 3, axis=2).astype(np.uint8)
    small = shrunk(picture, scale)
    assert small.shape[:2] == (round(301 * scale), round(403 * scale))
    exact = cv2.resize(picture, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - exact).max() <= 6 and abs(small.mean() - picture.mean()) < 1.5


def test_of_doubles_the_surest_stays_and_neighbours_stay_both() -> None:
    def seen(left: float, score: float, size: float = 40) -> Detection:
        return Detection(left, 0, size, size, score, np.zeros((6, 2), np.float32))

    kept = suppress_doubles([seen(0, 0.6), seen(5, 0.9), seen(60, 0.5, 50)])
    assert [(d.left, d.score) for d in kept] == [(60, 0.5), (5, 0.9)]


@pytest.mark.parametrize("degrees", range(0, 360, 30))
def test_a_face_is_found_at_any_angle(finder: FaceFinder, astronaut: np.ndarray, degrees: int) -> None:
    (upright,) = finder.find(astronaut)
    turned, matrix = rotated(astronaut, degrees)
    (found,) = finder.find(turned)
    points = upright.mesh.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert apart(found, points) < 0.03
    assert apart(finder.locate(turned, found.detection), points) < 0.03  # as it is found again after a swap


def test_an_upright_face_does_not_hide_one_that_lies_or_stands_on_its_head(
    finder: FaceFinder, astronaut: np.ndarray
) -> None:
    row = np.hstack([np.rot90(astronaut, turns) for turns in range(4)])
    faces = finder.find(np.ascontiguousarray(row))
    assert len(faces) == 4
    upright = finder.find(astronaut)[0].mesh.points[1, :2]
    for turns in range(4):
        x, y = upright
        known = {0: (x, y), 1: (y, 260 - x), 2: (260 - x, 260 - y), 3: (260 - y, x)}[turns]
        nose = np.array(known) + [260 * turns, 0]
        assert min(float(np.linalg.norm(face.mesh.points[1, :2] - nose)) for face in faces) < 8


def test_small_faces_in_a_large_picture_are_found(finder: FaceFinder, group: np.ndarray) -> None:
    truth = finder.find(group)
    scale = 34 / float(np.mean([face.size_px for face in truth]))
    small = cv2.resize(group, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((1000, 1400, 3), (110, 120, 130), np.uint8)
    canvas[300 : 300 + small.shape[0], 500 : 500 + small.shape[1]] = small
    faces = finder.find(canvas)
    assert len(faces) == 6
    for known in truth:
        points = known.mesh.points[:, :2] * scale + [500, 300]
        assert min(apart(face, points) for face in faces) < 0.1


def test_only_the_largest_is_the_first_of_all(finder: FaceFinder, group: np.ndarray) -> None:
    largest = finder.find(group, only_largest=True)
    assert len(largest) == 1
    assert largest[0].size_px == pytest.approx(finder.find(group)[0].size_px, rel=0.15)


@pytest.mark.parametrize("file", ["coffee.png", "chelsea.png", "coins.png", "text.png", "horse.png", "brick.png"])
def test_what_is_no_face_is_not_found(finder: FaceFinder, file: str) -> None:
    assert finder.find(package_picture("skimage", f"data/{file}")) == []


def test_one_run_finds_what_is_new_and_leaves_what_is_known(finder: FaceFinder, group: np.ndarray) -> None:
    frame = np.asarray(cv2.resize(group, (1280, 720), interpolation=cv2.INTER_AREA), np.uint8)
    first = finder.find_fast(frame)
    assert len(first) >= 4
    known = [face.mesh for face in first]
    assert finder.find_fast(frame, known) == []
    (again,) = finder.find_fast(frame, known[1:])
    assert apart(again, known[0].points) < 0.03
    for part in range(8):
        known += [face.mesh for face in finder.find_fast(frame, known, part=part)]
    assert len(known) == 6


@pytest.mark.parametrize("part", [None, 1])
def test_a_glance_sees_the_frame_as_it_was(finder: FaceFinder, group: np.ndarray, part: int | None) -> None:
    frame = np.asarray(cv2.resize(group, (1280, 720), interpolation=cv2.INTER_AREA), np.uint8)
    wanted = finder.glance(frame, part)()
    detect = finder.glance(frame, part)
    frame[:] = 0
    found = detect()
    assert len(found) == len(wanted) > 0
    assert [face.score for face in found] == [face.score for face in wanted]


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3), (17, 1000)])
def test_odd_shapes_have_no_faces(finder: FaceFinder, shape: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert finder.find(picture) == [] and finder.find_fast(picture) == []
