"""A film cut anywhere, coded anew in parts and joined is the film: every picture, every time, the sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from services.common.errors import LikenessError
from services.common.film import FilmCoding, SegmentSpan, join_film, plan_segments, probe_film, read_frames
from services.common.film.join import decoding_times
from tests.unit.film_samples import lumas, make_film, number_of, psnr_db, samples, write_segments

UNEVEN = [0, 400, 1000, 1037, 2600, 2601, 3000, 5200, 5712, 6000, 7000, 7001, 8000, 8800, 9900, 9999, 12000, 12800]
KINDS: dict[str, dict[str, Any]] = {
    "mp4": {},
    "mp4 with sound": {"audio": ["aac"]},
    "two tracks of sound": {"audio": ["aac", "libmp3lame"]},
    "open groups of pictures": {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}},
    "one key frame": {"options": {"g": "1000"}},
    "uneven times": {"pts": UNEVEN},
    "matroska": {"name": "a.mkv"},
    "matroska, uneven": {"name": "a.mkv", "pts": [0, 40, 41, 95, 120, 300, 333, 350], "time_base": Fraction(1, 1000)},
    "ntsc": {"rate": Fraction(30000, 1001), "time_base": Fraction(1001, 30000)},
    "webm vp8": {"name": "a.webm", "codec": "libvpx", "time_base": Fraction(1, 1000), "audio": ["libopus"]},
    "webm vp9": {"name": "a.webm", "codec": "libvpx-vp9", "time_base": Fraction(1, 1000), "options": {"cpu-used": "8"}},
    "mov mpeg4": {"name": "a.mov", "codec": "mpeg4", "options": {"q": "2"}, "time_base": Fraction(1, 25)},
    "begins late": {"pts": [1000 + 512 * n for n in range(20)]},
    "turned": {"rotation": 90},
    "upside down": {"rotation": 180},
    "odd sides": {"size": (163, 97), "pixel_format": "yuv444p"},
    "ten bits": {"pixel_format": "yuv420p10le"},
    "full range": {"pixel_format": "yuvj420p"},
    "full range 4:2:2": {"pixel_format": "yuvj422p"},
    "one picture": {"frames": 1},
    "two pictures": {"frames": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_three_parts_are_the_whole(kind: str, tmp_path: Path) -> None:
    settings = dict(KINDS[kind])
    film = make_film(tmp_path / settings.pop("name", "a.mp4"), **settings)
    info = probe_film(film)
    times = info.frame_pts.tolist()
    cuts = sorted({0, len(times) // 3, 2 * len(times) // 3 + 1} & set(range(len(times))))
    ends = [times[cut] for cut in cuts[1:]] + [info.end_pts]
    plan = [SegmentSpan(times[cut], end) for cut, end in zip(cuts, ends, strict=True)]
    whole = [SegmentSpan(info.start_pts, info.end_pts)]

    (tmp_path / "one").mkdir()
    joined = join_film(write_segments(film, info, plan, tmp_path), plan, film, info, tmp_path / "joined.mp4")
    in_one = join_film(write_segments(film, info, whole, tmp_path / "one"), whole, film, info, tmp_path / "one.mp4")

    found = probe_film(joined.path)
    assert joined.frames == in_one.frames == found.frame_count == info.frame_count
    assert [pts * found.time_base for pts in found.frame_pts.tolist()] == [pts * info.time_base for pts in times]
    if "uneven" not in kind:  # MP4 tells how long a picture is decoded; of the last one that may be another's length
        assert found.end_pts * found.time_base == info.end_pts * info.time_base
    assert (found.width_px, found.height_px) == info.output_size()
    assert len(found.audio) == len(info.audio)
    pictures = lumas(joined.path)
    if "rotation" not in settings:
        assert [number_of(picture) for picture in pictures] == list(range(len(times)))
    originals = [frame.luma for frame in read_frames(film, info)]
    for picture, other, original in zip(pictures, lumas(in_one.path), originals, strict=True):
        assert psnr_db(picture, other) > 38
        assert psnr_db(picture, original) > 38


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_film_comes_out_upright(turn: int, tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", rotation=turn, frames=3)
    info = probe_film(film)
    # FFmpeg's angle counts counter-clockwise, and so does rot90
    expected = np.rot90(lumas(film)[2], turn // 90)
    assert (info.height_px, info.width_px) == expected.shape
    plan = plan_segments(info)
    joined = join_film(write_segments(film, info, plan, tmp_path), plan, film, info, tmp_path / "b.mp4")
    assert psnr_db(lumas(joined.path)[2], expected) > 38
    assert probe_film(joined.path).orientation.quarter_turns == 0


def test_pictures_that_change_their_size_are_brought_to_the_first_one(tmp_path: Path) -> None:
    """As in recordings of calls, when the network gets slow."""
    small = make_film(tmp_path / "small.webm", codec="libvpx", frames=8, size=(96, 64), time_base=Fraction(1, 1000))
    film = make_film(tmp_path / "large.webm", codec="libvpx", frames=8, size=(192, 128), time_base=Fraction(1, 1000))
    mixed = tmp_path / "mixed.webm"
    with av.open(str(mixed), "w") as output:
        stream: Any = None
        for number, path in enumerate((film, small, film)):
            with av.open(str(path)) as source:
                stream = stream or output.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = packet.pts + 320 * number
                        packet.stream = stream
                        output.mux_one(packet)
    info = probe_film(mixed)
    pictures = [frame.luma for frame in read_frames(mixed, info)]
    assert {picture.shape for picture in pictures} == {(128, 192)}
    assert [number_of(picture) for picture in pictures] == [*range(8)] * 3


def test_colours_are_tagged_as_they_were(tmp_path: Path) -> None:
    for colour in ((1, 9, 16, 9), (2, 1, 1, 1), (1, 6, 6, 6)):
        film = make_film(tmp_path / "a.mp4", frames=3, colour=colour, aspect=Fraction(4, 3))
        info = probe_film(film)
        plan = plan_segments(info)
        joined = join_film(write_segments(film, info, plan, tmp_path), plan, film, info, tmp_path / "b.mp4")
        with av.open(str(joined.path)) as source:
            frame = next(source.decode(video=0))
            tags = (frame.color_range, frame.color_primaries, frame.color_trc, frame.colorspace)
            assert tags == colour
            assert source.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert probe_film(joined.path).colour == info.colour


def test_sound_is_copied_to_the_bit(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=40, audio=["aac", "libmp3lame"])
    info = probe_film(film)
    plan = plan_segments(info, 0.5)
    joined = join_film(write_segments(film, info, plan, tmp_path), plan, film, info, tmp_path / "b.mp4")
    assert joined.audio_tracks == 2
    for track in (0, 1):
        with av.open(str(film)) as before, av.open(str(joined.path)) as after:
            packets, copies = (
                [(bytes(p), p.pts * p.time_base) for p in source.demux(audio=track) if p.size]
                for source in (before, after)
            )
        assert copies == packets


@pytest.mark.parametrize(
    ("name", "sound", "coding", "out", "codec"),
    [
        ("a.mkv", "pcm_s16le", FilmCoding(), "b.mp4", "aac"),
        ("a.mp4", "aac", FilmCoding("vp9"), "b.webm", "opus"),
        ("a.mkv", "libopus", FilmCoding("vp9"), "b.webm", "opus"),
        ("a.mkv", "flac", FilmCoding(), "b.mp4", "flac"),
    ],
)
def test_sound_is_transcoded_where_it_must_be(
    name: str, sound: str, coding: FilmCoding, out: str, codec: str, tmp_path: Path
) -> None:
    film = make_film(tmp_path / name, frames=30, audio=[sound], time_base=Fraction(1, 1000))
    info = probe_film(film)
    plan = plan_segments(info)
    joined = join_film(write_segments(film, info, plan, tmp_path, coding), plan, film, info, tmp_path / out)
    (track,) = probe_film(joined.path).audio
    assert track.codec in (codec, "lib" + codec)
    before, after = samples(film), samples(joined.path)
    n = min(len(before), len(after)) - 2000
    middle = slice(n // 4, n // 2)
    assert np.corrcoef(before[middle], after[middle])[0, 1] > 0.98  # also says that it is not late


def test_a_part_begins_at_zero_with_its_own_sound(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=60, audio=["aac"])
    info = probe_film(film)
    plan = plan_segments(info, 0.5, start_s=0.6, end_s=1.8)
    joined = join_film(write_segments(film, info, plan, tmp_path), plan, film, info, tmp_path / "b.mp4")
    pictures = lumas(joined.path)
    assert [number_of(picture) for picture in pictures] == list(range(15, 45))
    found = probe_film(joined.path)
    assert (found.start_pts, joined.duration_s) == (0, pytest.approx(1.2))
    with av.open(str(joined.path)) as source:
        sound = [packet for packet in source.demux(audio=0) if packet.size]
        start_s = float(sound[0].pts * sound[0].time_base)
        end_s = float((sound[-1].pts + sound[-1].duration) * sound[-1].time_base)
    packet_s = 1024 / 48_000
    assert abs(start_s) <= packet_s / 2 + 1e-4
    assert abs(end_s - 1.2) <= packet_s
    with av.open(str(film)) as source:
        originals = {bytes(packet) for packet in source.demux(audio=0) if packet.size}
    assert {bytes(packet) for packet in sound} <= originals


def test_webm_and_animations_come_out(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=12, rate=Fraction(10))
    info = probe_film(film)
    plan = plan_segments(info, 0.5)
    for format, coding in (("webm", FilmCoding("vp9")), ("gif", FilmCoding()), ("webp", FilmCoding())):
        paths = write_segments(film, info, plan, tmp_path, coding)
        joined = join_film(paths, plan, film, info, tmp_path / f"b.{format}", format=format)  # type: ignore[arg-type]
        found = probe_film(joined.path)
        times = [float(pts * found.time_base) for pts in found.frame_pts.tolist()]
        assert times == pytest.approx([n / 10 for n in range(12)], abs=0.0051)
        assert found.duration_s == pytest.approx(1.2, abs=0.02)
        pictures = [frame.luma for frame in read_frames(joined.path, found)]
        assert [number_of(picture) for picture in pictures] == list(range(12))


def test_an_animation_becomes_a_film(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=6, rate=Fraction(10))
    info = probe_film(film)
    plan = plan_segments(info)
    paths = write_segments(film, info, plan, tmp_path)
    for format in ("gif", "webp"):
        animation = tmp_path / f"b.{format}"
        join_film(paths, plan, film, info, animation, format=format)  # type: ignore[arg-type]
        found = probe_film(animation)
        assert found.animation
        again = plan_segments(found, 0.2)
        (tmp_path / format).mkdir()
        segments = write_segments(animation, found, again, tmp_path / format)
        joined = join_film(segments, again, animation, found, tmp_path / "c.mp4")
        assert [number_of(picture) for picture in lumas(joined.path)] == list(range(6))


def test_missing_or_foreign_segments_are_refused(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=30)
    info = probe_film(film)
    plan = plan_segments(info, 0.4)
    paths = write_segments(film, info, plan, tmp_path)
    (tmp_path / "other").mkdir()
    other = write_segments(film, info, plan, tmp_path / "other", FilmCoding(height_px=64))
    wrong = [paths[:-1], [paths[1], paths[0], *paths[2:]], [*paths[:-1], other[-1]], [paths[0]] * len(paths)]
    for segments in wrong:
        with pytest.raises(LikenessError) as raised:
            join_film(segments, plan, film, info, tmp_path / "b.mp4")
        assert raised.value.reason == "INTERNAL"
    with pytest.raises(LikenessError) as raised:
        join_film(paths, plan, film, info, tmp_path / "b.webm", format="webm")
    assert (raised.value.reason, raised.value.field) == ("INVALID_FIELD", "format")


def test_pictures_are_scaled(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", frames=3, rotation=90)
    info = probe_film(film)
    plan = plan_segments(info)
    paths = write_segments(film, info, plan, tmp_path, FilmCoding(height_px=80))
    found = probe_film(join_film(paths, plan, film, info, tmp_path / "b.mp4").path)
    assert (found.width_px, found.height_px) == (48, 80)
    for height_px in (81, 8, 100_000):
        with pytest.raises(LikenessError) as raised:
            info.output_size(height_px)
        assert raised.value.field == "film_options.height_px"


def test_decoding_times_ascend_and_never_come_late() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        ordered = np.cumsum(random.integers(1, 100, 40))
        mixed = ordered.copy()
        for first in range(0, 36, 4):
            mixed[first : first + 4] = random.permutation(mixed[first : first + 4])
        dts = decoding_times(mixed)
        assert (np.diff(dts) > 0).all()
        assert (dts <= mixed).all()
