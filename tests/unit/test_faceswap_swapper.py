"""Whole swaps with the real networks, on the faces inside installed packages."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import REPOSITORY_ROOT
from services.faceswap import FaceSwapper, SwapOptions
from services.faceswap.recogniser import SAME_PERSON_DISTANCE, distance

QUICK = SwapOptions(measure=False)


def package_picture(package: str, file: str) -> np.ndarray:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    picture = cv2.imread(str(Path(spec.submodule_search_locations[0]) / file))
    assert picture is not None
    return np.asarray(picture)


@pytest.fixture(scope="module")
def swapper() -> FaceSwapper:
    made = FaceSwapper.load(Registry(REPOSITORY_ROOT / "models"))
    made.warm_up()
    return made


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    return package_picture("insightface", "data/images/t1.jpg")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return package_picture("skimage", "data/astronaut.png")[0:260, 90:350].copy()


@pytest.fixture(scope="module")
def man(group: np.ndarray) -> np.ndarray:
    return group[200:440, 400:660].copy()


def changed_mask(swap, shape) -> np.ndarray:
    mask = np.zeros(shape[:2], bool)
    for face in swap.faces:
        mask[face.painted.region.rows, face.painted.region.columns] |= face.painted.changed
    return mask


def test_every_face_of_a_group_is_found_largest_first(swapper: FaceSwapper, group: np.ndarray) -> None:
    faces = swapper.find(group)
    assert len(faces) == 6
    areas = [face.detection.width * face.detection.height for face in faces]
    assert areas == sorted(areas, reverse=True)
    centres = sorted(round(face.mesh.points[1, 0]) for face in faces)
    for found, known in zip(centres, [118, 316, 510, 788, 928, 1172], strict=True):
        assert abs(found - known) < 40


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_a_turned_picture_gives_the_same_face(swapper: FaceSwapper, astronaut: np.ndarray, quarter_turns: int) -> None:
    upright = swapper.find(astronaut)
    turned = swapper.find(np.ascontiguousarray(np.rot90(astronaut, quarter_turns)))
    assert len(upright) == len(turned) == 1
    assert turned[0].size_px == pytest.approx(upright[0].size_px, rel=0.15)


def test_what_has_no_face_has_none(swapper: FaceSwapper) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 220, 3), np.uint8)
    assert swapper.find(noise) == []
    assert swapper.find(np.full((1, 1, 3), 255, np.uint8)) == []
    assert swapper.find(package_picture("skimage", "data/coffee.png")) == []


def test_a_face_onto_itself_gives_nearly_the_same_picture(swapper: FaceSwapper, astronaut: np.ndarray) -> None:
    swap = swapper.swap(astronaut, astronaut)
    difference = np.abs(swap.picture.astype(int) - astronaut.astype(int))
    # Sampled twice, lit anew; of the fringe what lies on the face is continued skin.
    assert np.percentile(difference, 99) <= 40 and difference.mean() < 2.5
    assert swap.faces[0].distance_to_source < 0.25


def test_another_face_becomes_nearer_to_the_source_and_all_around_stays_identical(
    swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray
) -> None:
    before = man.copy()
    swap = swapper.swap(astronaut, man)
    (face,) = swap.faces
    assert face.distance_to_source < SAME_PERSON_DISTANCE < face.distance_to_target
    assert (man == before).all()  # the arguments are not written to
    mask = changed_mask(swap, man.shape)
    assert (swap.picture[~mask] == man[~mask]).all()
    assert 0.05 < mask.mean() < 0.9
    assert (swap.picture[mask] != man[mask]).any(axis=1).mean() > 0.5


def test_the_shape_carries_identity(swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray) -> None:
    flat = swapper.swap(man, astronaut, SwapOptions(shape_strength=0.0)).faces[0]
    full = swapper.swap(man, astronaut, SwapOptions(shape_strength=1.0)).faces[0]
    assert full.distance_to_source < flat.distance_to_source
    assert full.distance_to_target > flat.distance_to_target


@pytest.mark.parametrize(("height", "width"), [(259, 257), (201, 233)])
def test_odd_sizes(swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray, height: int, width: int) -> None:
    target = astronaut[:height, :width]  # a view, not contiguous
    swap = swapper.swap(man, target, QUICK)
    assert swap.picture.shape == (height, width, 3)
    assert len(swap.faces) == 1


def test_a_face_at_the_border_of_the_picture(swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray) -> None:
    target = astronaut[70:185, 80:180]
    swap = swapper.swap(man, target, QUICK)
    mask = changed_mask(swap, target.shape)
    assert (swap.picture[~mask] == target[~mask]).all() and mask.any()


def test_a_grey_picture_counts_as_three_equal_channels(
    swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray
) -> None:
    grey = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    result = swapper.swap(man, grey, QUICK).picture
    assert (result == swapper.swap(man, np.dstack([grey] * 3), QUICK).picture).all()
    chroma = result.max(axis=2).astype(int) - result.min(axis=2)
    assert np.percentile(chroma, 99) <= 12  # the source's colours do not tint a grey target


def test_all_faces_or_the_largest(swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray) -> None:
    small = cv2.resize(astronaut, (200, 200), interpolation=cv2.INTER_AREA)
    two = np.full((260, 480, 3), 128, np.uint8)
    two[:240, :260] = man
    two[30:230, 270:470] = small
    everyone = swapper.swap(astronaut, two, SwapOptions("all", measure=False))
    largest = swapper.swap(astronaut, two, QUICK)
    assert len(everyone.faces) == 2 and len(largest.faces) == 1
    assert everyone.faces[0].face.size_px > everyone.faces[1].face.size_px
    assert largest.faces[0].face.size_px == pytest.approx(everyone.faces[0].face.size_px, rel=0.02)
    assert (everyone.picture[:, :265] == largest.picture[:, :265]).mean() > 0.99
    assert (largest.picture[:, 300:] == two[:, 300:]).all()


@pytest.mark.parametrize("field", ["source", "target"])
def test_the_picture_without_a_face_is_named(swapper: FaceSwapper, astronaut: np.ndarray, field: str) -> None:
    pictures = {"source": astronaut, "target": astronaut, field: np.full((64, 64, 3), 90, np.uint8)}
    with pytest.raises(LikenessError) as caught:
        swapper.swap(pictures["source"], pictures["target"])
    assert (caught.value.reason, caught.value.field) == ("FACE_NOT_FOUND", field)


def test_a_tiny_face_is_refused(swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray) -> None:
    tiny = cv2.resize(astronaut, (52, 52), interpolation=cv2.INTER_AREA)
    canvas = np.full((120, 120, 3), 140, np.uint8)
    canvas[30:82, 30:82] = tiny
    with pytest.raises(LikenessError) as caught:
        swapper.swap(man, canvas)
    assert (caught.value.reason, caught.value.field) == ("FACE_TOO_SMALL", "target")


@pytest.mark.parametrize(
    "numbers", [{"shape_strength": 1.5}, {"shape_strength": float("nan")}, {"feather": 0.0}, {"feather": 0.6}]
)
def test_numbers_out_of_range_are_refused_by_name(numbers: dict[str, float]) -> None:
    with pytest.raises(LikenessError) as caught:
        SwapOptions(**numbers)  # type: ignore[arg-type]
    assert caught.value.reason == "INVALID_FIELD"
    assert caught.value.field == f"options.{next(iter(numbers))}"


def test_threads_share_one_swapper_and_get_what_one_alone_gets(
    swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray
) -> None:
    pairs = [(astronaut, man), (man, astronaut)] * 3
    alone = [swapper.swap(source, target, QUICK).picture for source, target in pairs[:2]]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda pair: swapper.swap(*pair, QUICK).picture, pairs))
    for index, picture in enumerate(together):
        assert (picture == alone[index % 2]).all()


def test_the_recogniser_tells_two_people_apart_and_knows_one_again(
    swapper: FaceSwapper, astronaut: np.ndarray, man: np.ndarray
) -> None:
    def numbers(picture: np.ndarray) -> np.ndarray:
        return swapper.descriptor(picture, swapper.find(picture)[0])

    bright = cv2.convertScaleAbs(astronaut, alpha=1.1, beta=8)
    assert distance(numbers(astronaut), numbers(np.asarray(bright))) < 0.3
    assert distance(numbers(astronaut), numbers(man)) > SAME_PERSON_DISTANCE
