"""Which face becomes whom: checked on faces that are only positions, sizes and descriptors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.faceswap.detector import Detection
from services.faceswap.finder import Face
from services.faceswap.mesh import Mesh
from services.faceswap.selection import Person, Selector, choose, from_the_left, mean_descriptor

ANYBODY: Any = None


def face(x: float, size: float) -> Face:
    points = np.array([[x - size / 2, 0, 0], [x + size / 2, size, 0]], np.float32)
    return Face(Detection(x - size / 2, 0, size, size, 1.0, np.zeros((6, 2), np.float32)), Mesh(points, 1.0))


def person(*arguments: Any, **options: Any) -> Person:
    return Person(ANYBODY, ANYBODY, None, Selector(*arguments, **options))


def along(axis: int, length: float = 1.0) -> np.ndarray:
    vector = np.zeros(128, np.float32)
    vector[axis] = length
    return vector


def unasked(index: int) -> np.ndarray:
    raise AssertionError("nobody needs a descriptor here")


ROW = [face(500, 60), face(100, 90), face(300, 120)]


def test_each_selection_names_its_faces() -> None:
    assert choose(ROW, [person("largest")], unasked) == [None, None, 0]
    assert choose(ROW, [person("all")], unasked) == [0, 0, 0]
    assert from_the_left(ROW) == [1, 2, 0]
    for index, chosen in enumerate([[None, 0, None], [None, None, 0], [0, None, None], [None, None, None]]):
        assert choose(ROW, [person("index", index)], unasked) == chosen


def test_a_face_named_twice_goes_to_the_first_and_the_rest_to_whoever_wants_all() -> None:
    assert choose(ROW, [person("largest"), person("index", 1), person("all")], unasked) == [2, 2, 0]
    assert choose(ROW, [person("all"), person("largest")], unasked) == [0, 0, 0]


def test_a_reference_names_whoever_looks_alike() -> None:
    looks = [along(0), along(1), along(0, 1.3)]
    alike = person("reference", reference=along(0), threshold=0.35)
    assert choose(ROW, [alike], looks.__getitem__) == [0, None, 0]
    strict = person("reference", reference=along(0), threshold=0.2)
    assert choose(ROW, [strict, alike], looks.__getitem__) == [0, None, 1]


def test_descriptors_are_taken_once_and_only_of_faces_that_are_free() -> None:
    asked: list[int] = []

    def look(index: int) -> np.ndarray:
        asked.append(index)
        return along(index)

    people = [person("largest"), *(person("reference", reference=along(axis)) for axis in (5, 6))]
    assert choose(ROW, people, look) == [None, None, 0]
    assert asked == [0, 1]


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 400)), max_size=8),
    st.lists(st.sampled_from(["largest", "all", "index"]), min_size=1, max_size=4),
    st.integers(0, 8),
)
def test_every_face_has_at_most_one_owner_and_every_owner_named_it(
    places: list[tuple[int, int]], selections: list[Any], index: int
) -> None:
    faces = [face(x, size) for x, size in places]
    people = [person(selection, index) for selection in selections]
    chosen = choose(faces, people, unasked)
    assert len(chosen) == len(faces)
    for number, someone in enumerate(people):
        alone = {i for i, owner in enumerate(choose(faces, [someone], unasked)) if owner == 0}
        together = {i for i, owner in enumerate(chosen) if owner == number}
        earlier = {i for i, owner in enumerate(chosen) if owner is not None and owner < number}
        assert together == alone - earlier


def test_nobody_is_nobody() -> None:
    assert choose([], [person("all")], unasked) == [] and choose(ROW, [], unasked) == [None] * 3


def test_a_mean_descriptor_lies_between_and_is_as_long() -> None:
    mean = mean_descriptor([along(0, 1.2), along(1, 1.4)])
    assert np.linalg.norm(mean) == pytest.approx(1.3)
    assert mean_descriptor([along(3)]) == pytest.approx(along(3))
    assert (mean[2:] == 0).all() and mean[1] > mean[0] > 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"index": -1}, "index"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"selection": "reference"}, "reference"),
    ],
)
def test_a_selector_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(LikenessError) as caught:
        Selector(**options)
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", field)
