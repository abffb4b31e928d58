"""What is said of films, good and bad; and that the bad ones are refused in words that help."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from services.common.errors import LikenessError
from services.common.film import probe, probe_film, read_frames, reader
from services.common.film.orientation import Orientation
from services.common.film.reader import SETTLING
from tests.unit.film_samples import make_film, number_of


def refusal(path: Path) -> LikenessError:
    with pytest.raises(LikenessError) as raised:
        info = probe_film(path)
        for _ in read_frames(path, info):
            pass
    assert raised.value.field == "film"
    return raised.value


def test_a_film_is_described(tmp_path: Path) -> None:
    film = make_film(
        tmp_path / "a.mp4", frames=50, audio=["aac"], rotation=90, aspect=Fraction(4, 3), colour=(1, 1, 1, 1)
    )
    info = probe_film(film)
    assert (info.container, info.codec, info.pixel_format) == ("mov", "h264", "yuv420p")
    assert (info.width_px, info.height_px, info.pixel_aspect) == (96, 160, Fraction(3, 4))
    assert (info.frame_count, info.frame_rate, info.duration_s) == (50, Fraction(25), pytest.approx(2.0))
    assert info.keyframe_pts.tolist() == info.frame_pts[::10].tolist()
    assert [(t.codec, t.sample_rate_hz, t.channels) for t in info.audio] == [("aac", 48_000, 2)]
    assert not info.animation
    assert info.output_size() == (96, 160)
    assert info.output_size(320) == (192, 320)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", frames=3, time_base=Fraction(1, 1000))
    film.rename(tmp_path / "a.mp4")
    assert probe_film(tmp_path / "a.mp4").container == "matroska"


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_orientations_turn_clockwise_then_mirror(turns: int, mirrored: bool) -> None:
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    upright = Orientation(turns, mirrored).apply(plane)
    expected = np.rot90(plane, -turns)
    assert np.array_equal(upright, np.fliplr(expected) if mirrored else expected)
    assert Orientation(turns, mirrored).size(3, 2) == (upright.shape[1], upright.shape[0])


CASES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "MEDIA_EMPTY", "no content"),
    "text": (b"Once upon a time there was a film", "MEDIA_UNSUPPORTED", "unknown kind"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n", "MEDIA_UNSUPPORTED", "a playlist"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "MEDIA_UNSUPPORTED", "a PNG picture"),
    "page": (b"<html></html>", "MEDIA_UNSUPPORTED", "a text file"),
    "concat script": (b"ffconcat version 1.0\nfile /etc/passwd\n", "MEDIA_UNSUPPORTED", "unknown kind"),
    "bare boxes": (b"\0\0\0\x14ftypisom\0\0\0\0isom\0\0\0\x08moov", "MEDIA_UNSUPPORTED", "no moving pictures"),
    "zeros after the type": (b"\0\0\0\x14ftypisom" + bytes(5000), "MEDIA_UNREADABLE", "damaged"),
    "matroska of zeros": (b"\x1aE\xdf\xa3" + bytes(1000), "MEDIA_UNREADABLE", "matroska"),
    "gif of zeros": (b"GIF89a" + bytes(500) + b";", "MEDIA_UNREADABLE", "gif"),
    "webp of zeros": (b"RIFF\xf4\x01\0\0WEBP" + bytes(496), "MEDIA_UNSUPPORTED", "still picture"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_film_is_named(case: str, tmp_path: Path) -> None:
    content, reason, words = CASES[case]
    (tmp_path / "a.mp4").write_bytes(content)
    error = refusal(tmp_path / "a.mp4")
    assert error.reason == reason
    assert words in error.detail


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream: Any = output.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    error = refusal(tmp_path / "a.mp4")
    assert (error.reason, "no moving pictures" in error.detail) == ("MEDIA_UNSUPPORTED", True)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.gif", "a.mov"])
def test_a_film_that_was_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    gif = {"codec": "gif", "pixel_format": "rgb8", "time_base": Fraction(1, 100), "rate": Fraction(10)}
    film = make_film(tmp_path / name, frames=40, **(gif if name == "a.gif" else {}))
    data = film.read_bytes()
    for share in (0.15, 0.5, 0.9, 0.99):
        film.write_bytes(data[: int(len(data) * share)])
        error = refusal(film)
        assert error.reason == "MEDIA_UNREADABLE"
        assert "ends before its film does" in error.detail


def test_a_live_recording_ends_where_it_ends(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mkv", frames=40, options={"x264-params": "keyint=5:bframes=0"})
    data = bytearray(film.read_bytes())
    segment = data.index(b"\x18\x53\x80\x67") + 4
    data[segment : segment + 8] = b"\x01" + b"\xff" * 7  # of unknown length
    film.write_bytes(bytes(data[: int(len(data) * 0.6)]))
    info = probe_film(film)
    assert 10 < info.frame_count < 40
    assert len(list(read_frames(film, info))) == info.frame_count


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("seed", range(4))
def test_damage_in_the_middle_is_told_with_its_time(name: str, seed: int, tmp_path: Path) -> None:
    film = make_film(tmp_path / name, frames=50, size=(320, 192))
    data = bytearray(film.read_bytes())
    noise = random.Random(seed)
    at = noise.randrange(int(len(data) * 0.3), int(len(data) * 0.6))
    data[at : at + 6000] = noise.randbytes(6000)
    film.write_bytes(bytes(data))
    error = refusal(film)
    assert error.reason == "MEDIA_UNREADABLE"
    assert "damaged at" in error.detail


@pytest.mark.parametrize("seed", range(30))
def test_noise_neither_crashes_nor_hangs(seed: int, tmp_path: Path) -> None:
    noise = random.Random(seed)
    name, settings = noise.choice(
        [
            ("a.mp4", {}),
            ("a.mkv", {}),
            ("a.webm", {"codec": "libvpx", "time_base": Fraction(1, 1000)}),
            ("a.gif", {"codec": "gif", "pixel_format": "rgb8", "time_base": Fraction(1, 100), "rate": Fraction(10)}),
        ]
    )
    film = make_film(tmp_path / name, frames=12, **settings)  # type: ignore[arg-type]
    data = bytearray(film.read_bytes())
    for _ in range(noise.choice([3, 30, 300])):
        data[noise.randrange(4, len(data))] = noise.randrange(256)
    film.write_bytes(bytes(data))
    try:
        info = probe_film(film)
        frames = list(read_frames(film, info))
    except LikenessError as error:
        assert error.reason.startswith("MEDIA_")
    else:
        assert len(frames) == info.frame_count


def test_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = make_film(tmp_path / "a.mp4", frames=30)
    for name, value, words in (
        ("MAX_FRAMES", 29, "more than 29 pictures"),
        ("MAX_DURATION_S", 0.9, "longer than"),
        ("MAX_FRAME_PIXELS", 160 * 96 - 1, "160 x 96 pixels"),
        ("MAX_SIDE_PX", 159, "159 on a side"),
        ("MAX_PROBE_S", -1.0, "took longer"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(probe, name, value)
            error = refusal(film)
        assert (error.reason, words in error.detail) == ("MEDIA_TOO_LARGE", True)
    assert refusal(make_film(tmp_path / "b.mp4", frames=1, size=(64, 8))).reason == "MEDIA_UNSUPPORTED"
    assert refusal(make_film(tmp_path / "c.mp4", frames=1, size=(8194, 16))).reason == "MEDIA_TOO_LARGE"


def test_references_to_elsewhere_are_not_followed(tmp_path: Path) -> None:
    """A QuickTime film whose pictures lie in another file, or on the network."""
    film = make_film(tmp_path / "a.mov", frames=5, codec="mpeg4", time_base=Fraction(1, 25))
    data = film.read_bytes()
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.mov".encode()
        place = data.index(b"dref") + 12  # of the entry that says: in this file
        assert data[place : place + 12] == b"\0\0\0\x0curl \0\0\0\x01"
        for name, entry in (("b.mov", b"alis"), ("c.mov", b"url ")):
            outside = struct.pack(">I4sI", 12 + len(url) + 1, entry, 0) + url + b"\0"
            changed = bytearray(data[:place] + outside + data[place + 12 :])
            for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):  # all of them have grown
                head = changed.rindex(box, 0, place + 4) - 4 if box != b"dref" else place - 16
                size = int.from_bytes(changed[head : head + 4], "big") + len(outside) - 12
                changed[head : head + 4] = size.to_bytes(4, "big")
            (tmp_path / name).write_bytes(bytes(changed))
        for name in ("b.mov", "c.mov"):
            try:
                info = probe_film(tmp_path / name)
                assert len(list(read_frames(tmp_path / name, info))) == 5  # its own pictures, if any
            except LikenessError as error:
                assert error.reason.startswith("MEDIA_")
        try:
            server.accept()
            asked.set()
        except TimeoutError:
            pass
    assert not asked.is_set()


SEEKS: dict[str, Callable[[Path], Path]] = {
    "closed groups": lambda folder: make_film(folder / "a.mp4", frames=60),
    "open groups": lambda folder: make_film(
        folder / "a.mp4", frames=60, options={"x264-params": "open-gop=1:keyint=12:bframes=3"}
    ),
    "no key frames but the first": lambda folder: make_film(
        folder / "a.mp4", frames=60, options={"x264-params": "intra-refresh=1:keyint=20:bframes=0"}
    ),
    "one group": lambda folder: make_film(folder / "a.mp4", frames=60, options={"g": "60"}),
    "mpeg-4": lambda folder: make_film(
        folder / "a.mkv", frames=60, time_base=Fraction(1, 1000), codec="mpeg4", options={"bf": "2", "g": "60"}
    ),
    "matroska": lambda folder: make_film(folder / "a.mkv", frames=60, time_base=Fraction(1, 1000)),
    "vp9": lambda folder: make_film(
        folder / "a.webm",
        frames=60,
        codec="libvpx-vp9",
        time_base=Fraction(1, 1000),
        options={"cpu-used": "8", "g": "15"},
    ),
}


@pytest.mark.parametrize("kind", SEEKS)
def test_reading_from_the_middle_gives_the_same_pictures(kind: str, tmp_path: Path) -> None:
    film = SEEKS[kind](tmp_path)
    info = probe_film(film)
    whole = [frame.luma.copy() for frame in read_frames(film, info)]
    assert [number_of(luma) for luma in whole] == list(range(60))
    for first, last in ((0, 1), (7, 9), (11, 14), (23, 31), (36, 37), (55, 60)):
        start = int(info.frame_pts[first])
        end = int(info.frame_pts[last]) if last < 60 else info.end_pts
        part = list(read_frames(film, info, start, end))
        assert [frame.pts for frame in part] == info.frame_pts[first:last].tolist()
        for frame, luma in zip(part, whole[first:last], strict=True):
            assert np.array_equal(frame.luma, luma)


def test_what_nothing_refers_to_is_not_decoded_to_be_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_film(tmp_path / "a.mp4", frames=60, options={"g": "60", "sc_threshold": "0"})
    info = probe_film(film)
    decoded: list[int] = []

    def noted(source: Any, *args: Any) -> Iterator[Any]:
        for picture in reader_decoded(source, *args):
            decoded.append(picture.pts)
            yield picture

    reader_decoded = reader._decoded
    monkeypatch.setattr(reader, "_decoded", noted)
    (last,) = read_frames(film, info, int(info.frame_pts[59]))
    assert number_of(last.luma) == 59
    assert set(info.frame_pts[60 - SETTLING :]) <= set(decoded)
    assert len(decoded) < 45
