"""Marks of frames and films: one still pattern in all frames, found in what an encoder leaves of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from services.common.errors import LikenessError
from services.common.marking.film import film_carries, find_film_mark
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import find_picture_mark, luma_of, picture_carries
from services.common.models import package_file

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
KEY = bytes(range(1, 33))
NUMBER = 0x80000001
SIZE = (512, 288)
FRAMES = 14


@pytest.fixture(scope="module")
def panned() -> list[Pixels]:
    """RGB frames of a camera that moves over a photograph."""
    photograph = cv2.imread(str(package_file("skimage", "data/coffee.png")), cv2.IMREAD_COLOR_RGB)
    picture = cv2.resize(np.asarray(photograph, np.uint8), (680, 454), interpolation=cv2.INTER_AREA)
    return [np.ascontiguousarray(picture[n : n + SIZE[1], 2 * n : 2 * n + SIZE[0]], np.uint8) for n in range(FRAMES)]


def write_film(path: Path, frames: list[Pixels], *, crf: int = 18, height: int = SIZE[1], marker: Any = None) -> Path:
    """H.264 in MP4; frames are marked as the face stage does it, on their luma."""
    width = 2 * round(SIZE[0] * height / SIZE[1] / 2)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(width, height, "yuv420p")
            if marker is not None:
                plane: Any = frame.planes[0]
                rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
                marker.mark_luma(rows[: plane.height, : plane.width])
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[Pixels]:
    with av.open(str(path)) as film:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in film.decode(video=0)]


@pytest.fixture(scope="module")
def marked(panned: list[Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "marked.mp4"
    return write_film(path, panned, marker=FrameMarker(KEY, NUMBER))


def test_still_frames_change_alike_so_nothing_flickers(panned: list[Pixels]) -> None:
    marker, luma = FrameMarker(KEY, NUMBER), luma_of(panned[0])
    first, second = luma.copy(), luma.copy()
    marker.mark_luma(first)
    marker.mark_luma(second)
    assert (first == second).all() and (first != luma).any()


def test_noise_of_the_sensor_does_not_make_the_mark_flicker(panned: list[Pixels]) -> None:
    marker, luma, random = FrameMarker(KEY, NUMBER), luma_of(panned[0]), np.random.default_rng(0)
    changes = []
    for _ in range(4):
        noisy = np.clip(luma + random.normal(0, 2, luma.shape), 0, 255).astype(np.uint8)
        frame = noisy.copy()
        marker.mark_luma(frame)
        changes.append(frame.astype(np.float32) - noisy)
    still = np.mean(changes, axis=0)
    assert np.std([change - still for change in changes]) < 0.35 * still.std()


def test_video_range_is_marked_less_than_full_range(panned: list[Pixels]) -> None:
    luma = luma_of(panned[0])
    video, full = luma.copy(), luma.copy()
    FrameMarker(KEY, NUMBER).mark_luma(video)
    FrameMarker(KEY, NUMBER).mark_luma(full, full_range=True)
    ratio = (video.astype(float) - luma).std() / (full.astype(float) - luma).std()
    assert 0.8 < ratio < 0.92


def test_a_live_frame_keeps_its_colours_and_shows_its_mark(panned: list[Pixels]) -> None:
    bgr = np.ascontiguousarray(panned[0][:, :, ::-1])
    marker, frame = FrameMarker(KEY, NUMBER), bgr.copy()
    assert not marker.is_in_bgr(frame)
    marker.mark_bgr(frame)
    assert marker.is_in_bgr(frame) and not FrameMarker(KEY, NUMBER + 1).is_in_bgr(frame)
    change = frame.astype(int) - bgr
    inside = ((bgr > 20) & (bgr < 235)).all(axis=2)
    assert (np.ptp(change[inside], axis=1) == 0).all()
    assert 10 * np.log10(255**2 / np.mean(change.astype(float) ** 2)) >= 42


def test_a_grey_live_frame_changes_as_a_films_luma_does(panned: list[Pixels]) -> None:
    luma = np.ascontiguousarray(panned[0][:, :, 1])
    bgr = cv2.merge([luma, luma, luma])
    marker = FrameMarker(KEY, NUMBER)
    marker.mark_luma(luma, full_range=True)
    marker.mark_bgr(bgr)
    assert (bgr == luma[:, :, np.newaxis]).all()


def test_frames_of_other_sizes_get_patterns_of_their_own(panned: list[Pixels]) -> None:
    marker = FrameMarker(KEY, NUMBER)
    for size in ((512, 288), (320, 240), (800, 450), (512, 288)):
        frame = np.asarray(cv2.resize(panned[0], size), np.uint8)
        marker.mark_bgr(frame)
        assert picture_carries(frame, KEY, NUMBER)


def test_a_films_number_is_found(marked: Path) -> None:
    found = find_film_mark(marked, KEY)
    assert found is not None and found.number == NUMBER and found.confidence > 1 - 1e-5
    assert film_carries(marked, KEY, NUMBER)


def test_and_with_no_other_key_or_number(marked: Path) -> None:
    assert find_film_mark(marked, bytes(32)) is None
    assert not film_carries(marked, bytes(32), NUMBER) and not film_carries(marked, KEY, NUMBER - 1)


def test_unmarked_films_hold_nothing(panned: list[Pixels], tmp_path: Path) -> None:
    film = write_film(tmp_path / "plain.mp4", panned)
    assert find_film_mark(film, KEY) is None and not film_carries(film, KEY, NUMBER)


def test_found_after_coding_anew(marked: Path, tmp_path: Path) -> None:
    again = write_film(tmp_path / "again.mp4", decoded(marked), crf=28)
    found = find_film_mark(again, KEY)
    assert found is not None and found.number == NUMBER and film_carries(again, KEY, NUMBER)


def test_found_at_two_thirds_of_the_size(marked: Path, tmp_path: Path) -> None:
    small = write_film(tmp_path / "small.mp4", decoded(marked), crf=20, height=192)
    found = find_film_mark(small, KEY)
    assert found is not None and found.number == NUMBER


def test_found_in_the_first_frames_and_in_one(marked: Path, tmp_path: Path) -> None:
    frames = decoded(marked)
    part = write_film(tmp_path / "part.mp4", frames[:5], crf=23)
    found, still = find_film_mark(part, KEY), find_picture_mark(frames[3], KEY)
    assert found is not None and still is not None and found.number == still.number == NUMBER


def test_a_long_film_is_looked_at_in_places(panned: list[Pixels], tmp_path: Path) -> None:
    frames = [np.asarray(cv2.resize(frame, (320, 180)), np.uint8) for frame in panned] * 28
    marker, path = FrameMarker(KEY, NUMBER), tmp_path / "long.mkv"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25, options={"crf": "20", "preset": "ultrafast", "g": "25"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number, pixels in enumerate(frames):
            bgr = np.ascontiguousarray(pixels[:, :, ::-1])
            marker.mark_bgr(bgr)
            frame = av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert film_carries(path, KEY, NUMBER)


def test_what_is_no_film_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing of the kind" * 99)
    with pytest.raises(LikenessError) as caught:
        find_film_mark(tmp_path / "a.mp4", KEY, field="file")
    assert caught.value.reason.startswith("MEDIA_") and caught.value.field == "file"
