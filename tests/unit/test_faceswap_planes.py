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


def test_the_whole_frame_resembles_the_film() -> None:
    whole = PlanesCanvas(frame(Colour(6, 6, 6))).whole()
    assert np.abs(whole.astype(int) - numbered_picture(5, 96, 64))[24:].mean() < 3
