"""Pieces of a film's frame in BGR and back; FFmpeg's own conversion is the judge."""

from __future__ import annotations

import av
import numpy as np
import pytest

from services.common.film import Colour
from services.common.film.frames import FilmFrame, blank_frame
from services.faceswap.planes import PlanesCanvas
from tests.unit.film_samples import numbered_picture

MATRICES = {1: "ITU709", 6: "ITU601", 5: "ITU601"}


def frame(colour: Colour, width: int = 96, height: int = 64) -> FilmFrame:
    made = blank_frame(width, height, 0, colour)
    planar = av.VideoFrame.from_ndarray(numbered_picture(5, width, height), format="bgr24").reformat(
        format="yuvj420p" if colour.full_range else "yuv420p",
        dst_colorspace=MATRICES[colour.matrix],
        dst_color_range=2 if colour.full_range else 1,
    )
    for plane, target in zip(planar.planes, (made.luma, made.blue, made.red), strict=True):
        target[:] = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
    return made


COLOURS = [Colour(m, m, m, full) for m in MATRICES for full in (False, True)]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_cut_has_the_colours_that_were_filmed(colour: Colour) -> None:
    cut = PlanesCanvas(frame(colour)).cut(20, 10, 60, 50)
    original = numbered_picture(5, 96, 64)[10:60, 20:80]
    error = np.abs(cut.astype(int) - original)[14:, 4:-4]  # below the hard-edged fields, whose colour is blurred
    assert error.mean() < 2.5


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize(("left", "top"), [(20, 10), (21, 11), (0, 0), (63, 32)])
def test_a_colour_that_is_pasted_is_there(colour: Colour, left: int, top: int) -> None:
    made = frame(colour)
    canvas = PlanesCanvas(made)
    cut = canvas.cut(left - left % 2, top - top % 2, 33, 32)[top % 2 :, left % 2 :][:30, :31]
    pixels = np.empty_like(cut)
    pixels[:] = (60, 120, 190)
    canvas.paste(left, top, cut, pixels, np.ones(cut.shape[:2], np.bool_))
    found = canvas.cut(left + left % 2 + 2, top + top % 2 + 2, 24, 24)
    assert np.abs(found.astype(int) - (60, 120, 190)).max() <= 8
    assert np.abs(found.astype(int).mean(axis=(0, 1)) - (60, 120, 190)).max() < 2


def test_nothing_else_changes_a_bit() -> None:
    made = frame(COLOURS[0])
    before = [plane.copy() for plane in (made.luma, made.blue, made.red)]
    canvas = PlanesCanvas(made)
    cut = canvas.cut(20, 10, 40, 40)
    changed = np.zeros((40, 40), np.bool_)
    changed[7:20, 9:30] = True
    after = cut.copy()
    after[changed] = 255
    canvas.paste(20, 10, cut, cut.copy(), np.ones((40, 40), np.bool_))  # changed, but to the same
    assert all(np.array_equal(a, b) for a, b in zip(before, (made.luma, made.blue, made.red), strict=True))
    canvas.paste(20, 10, cut, after, changed)
    touched = np.zeros(made.luma.shape, bool)
    touched[17:30, 29:50] = True
    assert np.array_equal(made.luma[~touched], before[0][~touched])
    assert (made.luma[touched] != before[0][touched]).mean() > 0.9
    colour_touched = touched.reshape(32, 2, 48, 2).any(axis=(1, 3))
    assert np.array_equal(made.blue[~colour_touched], before[1][~colour_touched])


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("place", [(0, 0, 96, 64), (21, 11, 33, 30), (20, 11, 1, 1), (95, 63, 1, 1)])
def test_a_cut_is_what_the_matrix_makes_of_interpolated_colour(
    colour: Colour, place: tuple[int, int, int, int]
) -> None:
    made = frame(colour)
    left, top, width, height = place
    cut = PlanesCanvas(made).cut(left, top, width, height)
    # Colour outside of the squares that the cut touches counts for nothing.
    rows, columns = slice(top >> 1, (top + height + 1) >> 1), slice(left >> 1, (left + width + 1) >> 1)
    planes = [made.luma[top : top + height, left : left + width].astype(float)]
    for plane in (made.blue, made.red):
        padded = np.pad(plane[rows, columns].astype(float), 1, mode="edge")
        for axis in (0, 1):
            even, odd = (np.roll(padded, by, axis) / 4 + padded * 3 / 4 for by in (1, -1))
            padded = np.stack([even, odd], axis + 1).reshape(
                [n * (1 + (k == axis)) for k, n in enumerate(padded.shape)]
            )
        planes.append(padded[2:-2, 2:-2][top % 2 :, left % 2 :][:height, :width])
    red, blue = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 5: (0.299, 0.114)}[colour.matrix]
    black, light, tint = (0.0, 1.0, 1.0) if colour.full_range else (16.0, 255 / 219, 255 / 224)
    y, cb, cr = (planes[0] - black) * light, (planes[1] - 128) * tint, (planes[2] - 128) * tint
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    exact = np.clip(np.stack([b, g, r], axis=2), 0, 255)
    assert np.abs(cut - exact).max() < 0.51


def test_the_whole_frame_resembles_the_film() -> None:
    whole = PlanesCanvas(frame(Colour(6, 6, 6))).whole()
    assert np.abs(whole.astype(int) - numbered_picture(5, 96, 64))[24:].mean() < 3
