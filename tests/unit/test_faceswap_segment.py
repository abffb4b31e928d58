"""Segments of a film of discs: exact at their ends, cancelled at once, never half."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from services.common.errors import LikenessError
from services.common.film import FilmCoding, FilmInfo, join_film, plan_segments, probe_film, read_frames
from services.faceswap.pipeline import Pipeline
from services.faceswap.segment import SegmentResult, swap_segment
from services.faceswap.selection import Person, Selector
from tests.unit.faceswap_discs import GREEN, RED, ColourEngine, disc_swapper, scene
from tests.unit.film_samples import lumas, psnr_db

FRAMES = 50
WHITE = (250, 250, 250)


def write_film(path: Path, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 12800)
        for n, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
            frame.pts, frame.time_base = 512 * n, Fraction(1, 12800)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pictures = [scene([(150.0 + 4 * n, 150.0, RED), (480.0, 100.0 + 3 * n, GREEN)]) for n in range(FRAMES)]
    return write_film(tmp_path_factory.mktemp("film") / "discs.mp4", pictures)


@pytest.fixture(scope="module")
def info(film: Path) -> FilmInfo:
    return probe_film(film)


def swap(film: Path, out: Path, **settings: Any) -> SegmentResult:
    person = Person(ColourEngine(), WHITE, None, Selector("all"))
    return swap_segment(disc_swapper(), film, out, [person], **settings)


def painted(luma: np.ndarray, n: int) -> list[bool]:
    """Whether the two discs of picture n are white in their middle."""
    places = ((150 + 4 * n, 150), (480, 100 + 3 * n))
    return [bool(luma[y - 8 : y + 8, x - 8 : x + 8].mean() > 200) for x, y in places]


def test_segments_join_to_what_one_piece_gives(film: Path, info: FilmInfo, tmp_path: Path) -> None:
    plan = plan_segments(info, 0.7)
    assert len(plan) == 3
    paths = []
    for number, span in enumerate(plan):
        result = swap(film, tmp_path / f"{number}.nut", start_pts=span.start_pts, end_pts=span.end_pts)
        assert [track.person_index for track in result.tracks] == [0, 0]
        assert all(track.frames_swapped == result.frames for track in result.tracks)
        assert all((t.first_pts, t.last_pts) == (span.start_pts, span.end_pts - 512) for t in result.tracks)
        paths.append(result.path)
    whole = swap(film, tmp_path / "whole.nut")
    assert (whole.frames, whole.width_px, whole.height_px) == (FRAMES, 640, 360)
    joined = join_film(paths, plan, film, info, tmp_path / "joined.mp4")
    pictures, in_one = lumas(joined.path), lumas(whole.path)
    originals = [frame.luma for frame in read_frames(film, info)]
    assert probe_film(joined.path).frame_pts.tolist() == info.frame_pts.tolist()
    for n, (picture, other, original) in enumerate(zip(pictures, in_one, originals, strict=True)):
        assert painted(picture, n) == [True, True]
        assert psnr_db(picture, other) > 35
        assert psnr_db(picture[320:], original[320:]) > 38  # where no disc ever is


def test_all_segments_of_a_shot_choose_the_same_face(tmp_path: Path) -> None:
    """The larger face at first becomes the smaller one in time."""
    seen = [(150.0, 150.0, RED), (480.0, 150.0, GREEN)]
    pictures = [scene(seen, radii=[55 - n // 2, 30 + n // 2]) for n in range(FRAMES)]
    film = write_film(tmp_path / "a.mp4", pictures)
    info = probe_film(film)
    for first, last in ((0, 25), (25, 45), (45, 50)):
        end = int(info.frame_pts[last]) if last < FRAMES else info.end_pts
        person = Person(ColourEngine(), WHITE, None, Selector("largest"))
        start = int(info.frame_pts[first])
        result = swap_segment(disc_swapper(), film, tmp_path / "a.nut", [person], start_pts=start, end_pts=end)
        for picture in lumas(result.path):
            assert [bool(picture[145:155, x - 5 : x + 5].mean() > 200) for x in (150, 480)] == [True, False]


def test_pictures_before_the_segment_are_followed_but_not_written(film: Path, info: FilmInfo, tmp_path: Path) -> None:
    start, end = (int(info.frame_pts[n]) for n in (23, 31))
    result = swap(film, tmp_path / "a.nut", start_pts=start, end_pts=end)
    with av.open(str(result.path)) as source:
        assert [frame.pts * frame.time_base for frame in source.decode(video=0)] == [
            pts * info.time_base for pts in info.frame_pts[23:31].tolist()
        ]
    assert result.frames == 8
    assert all(result.seconds[part] > 0 for part in ("decode", "swap", "encode"))


def test_progress_ends_at_the_whole(film: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    swap(film, tmp_path / "a.nut", on_progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (FRAMES, FRAMES)
    assert steps == sorted(steps)


def test_cancelling_leaves_nothing(film: Path, tmp_path: Path) -> None:
    asked = 0

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 10

    threads = threading.active_count()
    with pytest.raises(LikenessError) as raised:
        swap(film, tmp_path / "a.nut", is_cancelled=is_cancelled)
    assert raised.value.reason == "CANCELLED"
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


def test_a_damaged_film_leaves_nothing(film: Path, info: FilmInfo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    data = bytearray(film.read_bytes())
    at = len(data) // 2
    data[at : at + 8000] = bytes(8000)
    (tmp_path / "bad.mp4").write_bytes(bytes(data))
    threads = threading.active_count()
    with pytest.raises(LikenessError) as raised:
        swap(tmp_path / "bad.mp4", tmp_path / "out" / "a.nut", info=info)
    assert raised.value.reason == "MEDIA_UNREADABLE"
    assert "damaged at" in raised.value.detail
    assert list((tmp_path / "out").iterdir()) == []
    assert threading.active_count() == threads


def test_a_failing_engine_leaves_nothing(film: Path, tmp_path: Path) -> None:
    class Failing(ColourEngine):
        def paint(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no paint left")

    person = Person(Failing(), WHITE, None, Selector("all"))
    with pytest.raises(RuntimeError, match="no paint left"):
        swap_segment(disc_swapper(), film, tmp_path / "a.nut", [person])
    assert list(tmp_path.iterdir()) == []


def test_a_span_without_pictures_is_refused(film: Path, tmp_path: Path) -> None:
    with pytest.raises(LikenessError) as raised:
        swap(film, tmp_path / "a.nut", start_pts=10**9, end_pts=10**9 + 5)
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", "start_pts")


def test_all_segments_can_be_vp9_or_smaller(film: Path, info: FilmInfo, tmp_path: Path) -> None:
    end = int(info.frame_pts[6])
    result = swap(film, tmp_path / "a.nut", end_pts=end, coding=FilmCoding("vp9", height_px=180))
    assert (result.frames, result.width_px, result.height_px) == (6, 320, 180)
    with av.open(str(result.path)) as source:
        assert source.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")


def test_a_slow_writer_holds_the_reader_back(film: Path, info: FilmInfo) -> None:
    """No more pictures are in memory than the queues hold."""
    read, written = 0, 0

    def source() -> Any:
        nonlocal read
        for frame in read_frames(film, info):
            read += 1
            yield frame

    most = 0

    def sink(frame: Any) -> None:
        nonlocal written, most
        time.sleep(0.005)
        most = max(most, read - written)
        written += 1

    with Pipeline(source(), sink) as pipeline:
        for frame in pipeline.frames():
            pipeline.write(frame)
    assert written == FRAMES
    assert most <= 2 * 6 + 3
