"""The pictures' mark: its code, its pattern, what it survives, and what it is never taken for."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.marking.known import agreement
from services.common.marking.mark_code import CODE_SIGNS, decode_number, encode_number
from services.common.marking.picture import find_picture_mark, luma_of, mark_picture, picture_carries
from services.common.marking.search import MarkSearch
from services.common.marking.seen import see
from services.common.marking.shaping import mark_strength
from services.common.marking.spectrum import mark_spectrum, pattern, tile_px
from services.common.models import package_file

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
KEY = bytes(range(32))
NUMBER = 0xC0FFEE42
numbers = st.integers(1, 2**32 - 1)


def other_key(number: int) -> bytes:
    return hashlib.sha256(b"another %d" % number).digest()


def psnr_db(before: Pixels, after: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((before.astype(np.float64) - after) ** 2)))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[:, :, ::-1])


def scaled(pixels: Pixels, factor: float) -> Pixels:
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def found_number(pixels: Pixels, key: bytes = KEY) -> int | None:
    found = find_picture_mark(pixels, key)
    return None if found is None else found.number


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    picture = cv2.imread(str(package_file("skimage", "data/astronaut.png")), cv2.IMREAD_COLOR_RGB)
    return np.asarray(picture, np.uint8)


@pytest.fixture(scope="module")
def marked(astronaut: Pixels) -> Pixels:
    return mark_picture(astronaut, KEY, NUMBER)


@given(numbers)
@settings(max_examples=50, deadline=None)
def test_a_number_comes_back_from_its_signs(number: int) -> None:
    assert decode_number(encode_number(number)) == number


@given(numbers, st.sets(st.integers(0, CODE_SIGNS - 1), max_size=8), st.floats(0.01, 1000))
@settings(max_examples=50, deadline=None)
def test_any_eight_wrong_signs_are_corrected(number: int, wrong: set[int], loudness: float) -> None:
    signs = encode_number(number)
    signs[list(wrong)] *= -1
    assert decode_number(signs * np.float32(loudness)) == number


def test_noise_as_loud_as_the_signs_is_borne() -> None:
    random = np.random.default_rng(1)
    right = sum(
        decode_number(encode_number(number) + random.normal(0, 1, CODE_SIGNS).astype(np.float32)) == number
        for number in range(1, 101)
    )
    assert right >= 97


def test_noise_alone_is_no_number() -> None:
    random = np.random.default_rng(2)
    assert all(decode_number(random.normal(0, 1, CODE_SIGNS).astype(np.float32)) is None for _ in range(500))


@pytest.mark.parametrize("number", [0, -1, 2**32])
def test_what_is_no_number_is_refused(astronaut: Pixels, number: int) -> None:
    with pytest.raises(ValueError, match="number"):
        mark_picture(astronaut, KEY, number)


def test_a_pattern_repeats_itself_and_has_unit_strength() -> None:
    spectrum = mark_spectrum(KEY)
    made = pattern(spectrum, spectrum.waves(NUMBER), 256, 384, 128.0)
    assert np.allclose(made[:128, :128], made[256:, 128:], atol=1e-3)
    assert abs(float(np.mean(made**2)) - 1) < 1e-3


def test_patterns_of_keys_and_numbers_have_nothing_in_common() -> None:
    spectrum = mark_spectrum(KEY)
    made = [pattern(one, one.waves(5), 128, 128, 128.0) for one in (spectrum, mark_spectrum(other_key(1)))]
    assert abs(float(np.mean(made[0] * made[1]))) < 0.15


def test_a_marked_picture_looks_the_same(astronaut: Pixels, marked: Pixels) -> None:
    assert psnr_db(astronaut, marked) >= 42
    change = marked.astype(int) - astronaut
    inside = ((astronaut > 20) & (astronaut < 235)).all(axis=2)
    assert (np.ptp(change[inside], axis=1) == 0).all(), "colours stay: all channels change alike"


def test_smooth_places_are_spared() -> None:
    x = np.tile(np.linspace(60, 180, 512, dtype=np.float32), (512, 1))
    busy = x + np.random.default_rng(3).normal(0, 25, x.shape) * (np.arange(512) > 256)[:, np.newaxis]
    plane = np.clip(busy, 0, 255).astype(np.uint8)
    change = mark_picture(np.repeat(plane[:, :, np.newaxis], 3, axis=2), KEY, NUMBER)[:, :, 0].astype(int) - plane
    assert change[:230].std() < 1.1 and change[280:].std() > 2 * change[:230].std()


def test_strength_does_not_rise_beside_an_edge() -> None:
    plane = np.full((512, 512), 40, np.uint8)
    plane[:, 256:] = 220
    strength = mark_strength(plane)
    assert strength.max() <= 2.2 * strength.min() and strength.min() > 0.5


def test_the_number_is_found_in_the_picture_itself(marked: Pixels) -> None:
    found = find_picture_mark(marked, KEY)
    assert found is not None and found.number == NUMBER and found.confidence > 1 - 1e-5


@pytest.mark.parametrize("quality", [75, 50, 30])
def test_found_after_jpeg(marked: Pixels, quality: int) -> None:
    assert found_number(jpeg(marked, quality)) == NUMBER


@pytest.mark.parametrize("factor", [0.5, 0.613, 1.37])
def test_found_at_another_size(marked: Pixels, factor: float) -> None:
    assert found_number(scaled(marked, factor)) == NUMBER


@pytest.mark.parametrize(("left", "top"), [(0, 0), (61, 97), (102, 13)])
def test_found_in_a_part(marked: Pixels, left: int, top: int) -> None:
    assert found_number(np.ascontiguousarray(marked[top : top + 410, left : left + 410])) == NUMBER


def test_found_in_a_screenshot(marked: Pixels) -> None:
    shown = np.pad(scaled(marked, 0.87), ((3, 7), (5, 0), (0, 0)), constant_values=240)
    assert found_number(jpeg(shown, 85)) == NUMBER


def test_without_its_key_a_mark_is_not_there(marked: Pixels) -> None:
    search = MarkSearch(see(luma_of(marked)))
    assert all(search.find(mark_spectrum(other_key(number))) is None for number in range(20))
    assert not picture_carries(marked, other_key(0), NUMBER)


def test_unmarked_pictures_hold_nothing(astronaut: Pixels) -> None:
    random = np.random.default_rng(4)
    x, y = np.meshgrid(np.arange(400), np.arange(300))
    stripes = (128 + 90 * np.sign(np.sin(x / 5) * np.sin(y / 5))).astype(np.uint8)
    for plane in (luma_of(astronaut), stripes, random.integers(0, 256, (300, 300), np.uint8)):
        assert found_number(np.repeat(plane[:, :, np.newaxis], 3, axis=2)) is None


def test_agreement_by_chance_stays_within_its_bound(astronaut: Pixels) -> None:
    """Over keys it is spread as a normal variable of deviation 1 or less, even on a picture of one strong period."""
    x = np.arange(512)
    stripes = np.tile((128 + 100 * np.sin(2 * np.pi * x / 9.1)).astype(np.uint8), (512, 1))
    for plane in (luma_of(astronaut), stripes):
        seen = see(plane)
        spectra = [mark_spectrum(other_key(number)) for number in range(200)]
        scores = np.array([agreement(seen, spectrum, spectrum.waves(NUMBER)) for spectrum in spectra])
        assert abs(scores.mean()) < 0.3 and scores.std() < 1.2 and np.abs(scores).max() < 4.5


def test_ones_own_mark_is_confirmed_and_no_other(marked: Pixels) -> None:
    assert picture_carries(marked, KEY, NUMBER) and picture_carries(jpeg(marked, 60), KEY, NUMBER)
    assert not any(picture_carries(marked, KEY, NUMBER ^ 1 << bit) for bit in (0, 9, 31))


def test_an_unmarked_picture_is_not_confirmed(astronaut: Pixels) -> None:
    assert not picture_carries(astronaut, KEY, NUMBER)


@pytest.mark.parametrize("side", [64, 96, 160])
def test_small_pictures_are_confirmed(astronaut: Pixels, side: int) -> None:
    small = mark_picture(scaled(astronaut[:260, 90:350], side / 260), KEY, NUMBER)
    assert picture_carries(small, KEY, NUMBER) and psnr_db(small, scaled(astronaut[:260, 90:350], side / 260)) > 35


@pytest.mark.parametrize("value", [0, 128, 255])
def test_pictures_of_one_colour_are_confirmed(value: int) -> None:
    plain = np.full((240, 320, 3), value, np.uint8)
    assert picture_carries(mark_picture(plain, KEY, NUMBER), KEY, NUMBER)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (31, 33), (127, 401)])
def test_odd_sizes_keep_their_size(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (*shape, 3), np.uint8)
    assert mark_picture(pixels, KEY, NUMBER).shape == pixels.shape
    assert found_number(pixels) is None


def test_the_tile_grows_with_the_picture() -> None:
    assert [tile_px(1280, 720), tile_px(512, 700), tile_px(300, 200), tile_px(64, 90)] == [180, 128, 128, 64]


def test_other_pixels_and_keys_are_refused(astronaut: Pixels) -> None:
    with pytest.raises(ValueError, match="uint8"):
        find_picture_mark(astronaut[:, :, 0], KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        mark_picture(astronaut, b"short", NUMBER)
