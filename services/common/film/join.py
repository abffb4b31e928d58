"""Joins the segments of a film: their packets one after the other, beside the sound of the original.

Nothing is decoded, but sound that the new container cannot hold. Segments that do not make up the whole are refused.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np

from services.common.errors import LikenessError
from services.common.film.animation import Timeline, write_animation
from services.common.film.plan import SegmentSpan
from services.common.film.probe import FilmInfo, IntArray
from services.common.film.sound import open_audio

FilmFormat = Literal["mp4", "webm", "gif", "webp"]
CONTENT_TYPES: Final = {"mp4": "video/mp4", "webm": "video/webm", "gif": "image/gif", "webp": "image/webp"}


@dataclass(frozen=True)
class JoinedFilm:
    """What was written; `audio_tracks` of the original's sound went with it."""

    path: Path
    format: FilmFormat
    frames: int
    duration_s: float
    width_px: int
    height_px: int
    audio_tracks: int


def join_film(
    segments: Sequence[Path],
    plan: Sequence[SegmentSpan],
    original: Path,
    info: FilmInfo,
    out: Path,
    *,
    format: FilmFormat | None = None,
) -> JoinedFilm:
    """Writes one film from the segments of a plan.

    The result begins at time 0 where the plan does not begin with the film's first picture; else times are the film's.

    Args:
        segments: files that `SegmentWriter` made, one for each span of `plan`, in order.
        plan: what `plan_segments` gave.
        original: the film; `info` is what `probe_film` said of it.
        format: None means MP4 for H.264 and WebM for VP9. GIF and WebP are animations without sound.

    Raises:
        LikenessError: INTERNAL when segments are missing, incomplete, or not coded alike; MEDIA_UNREADABLE when the
            original's sound is damaged; MEDIA_TOO_LARGE when the result would be too large an animation.
    """
    if len(segments) != len(plan) or not plan:
        raise _incomplete(f"{len(segments)} segments for {len(plan)} spans")
    coded = _check_segments(segments, plan, info)
    format = format or ("mp4" if coded.codec == "h264" else "webm")
    if format == "webm" and coded.codec == "h264":
        detail = "WebM cannot hold H.264; choose the codec VP9, or the format MP4."
        raise LikenessError("INVALID_FIELD", detail, field="format")
    if format in ("gif", "webp"):
        timeline = Timeline(info.time_base, plan[0].start_pts, plan[-1].end_pts)
        frames, audio_tracks = write_animation(segments, timeline, out, format), 0
    else:
        frames, audio_tracks = len(coded.pts), _remux(segments, plan, original, info, out, format, coded.pts)
    duration_s = float((plan[-1].end_pts - plan[0].start_pts) * info.time_base)
    return JoinedFilm(out, format, frames, duration_s, coded.width_px, coded.height_px, audio_tracks)


@dataclass(frozen=True, eq=False)
class _Coded:
    """What the segments hold together; `pts` of all packets in order of decoding."""

    codec: str
    width_px: int
    height_px: int
    pts: IntArray


def _incomplete(what: str) -> LikenessError:
    return LikenessError("INTERNAL", f"The segments do not make up the film: {what}.")


def _check_segments(segments: Sequence[Path], plan: Sequence[SegmentSpan], info: FilmInfo) -> _Coded:
    """Looks through all packets, until every picture of the film is known to be there."""
    times: list[int] = []
    header: tuple[Any, ...] | None = None
    for number, (path, span) in enumerate(zip(segments, plan, strict=True)):
        with av.open(str(path), format="nut") as source:
            stream = source.streams.video[0]
            context = stream.codec_context
            found = (context.name, context.width, context.height, stream.time_base, bytes(context.extradata or b""))
            if found != (header or found):
                raise _incomplete(f"segment {number} is not coded like those before it")
            header = found
            packets = [packet for packet in source.demux(stream) if packet.size]
            pts = [_film_pts(packet, info) for packet in packets]
        wanted = info.frame_pts[(info.frame_pts >= span.start_pts) & (info.frame_pts < span.end_pts)]
        if sorted(pts) != wanted.tolist() or not packets[0].is_keyframe:
            raise _incomplete(f"segment {number} has {len(pts)} pictures of {len(wanted)}, or others")
        times += pts
    codec, width_px, height_px = header[:3] if header else ("", 0, 0)
    return _Coded(codec, width_px, height_px, np.array(times, np.int64))


def _film_pts(packet: Any, info: FilmInfo) -> int:
    """In the film's time base, of which the segment's container uses a finer one where it is coarse."""
    pts = (
        Fraction(packet.pts) * Fraction(packet.time_base) / info.time_base if packet.pts is not None else Fraction(1, 2)
    )
    if pts.denominator != 1:
        raise _incomplete("a time stamp is not the film's")
    return int(pts)


def decoding_times(pts: IntArray) -> IntArray:
    """Times at which packets are decoded: ascending, none after its picture's own time.

    As FFmpeg's encoders do it: the presentation times themselves, later by as many pictures as are ever held back, and
    before the first picture as many steps of the same length.
    """
    ordered = np.sort(pts)
    rank = np.searchsorted(ordered, pts)
    delay = int(max(0, (np.arange(len(pts)) - rank).max()))
    step = int(ordered[1] - ordered[0]) if len(ordered) > 1 else 1
    early = ordered[0] - step * np.arange(delay, 0, -1)
    result: IntArray = np.concatenate([early, ordered])[: len(pts)]
    return result


def _remux(
    segments: Sequence[Path],
    plan: Sequence[SegmentSpan],
    original: Path,
    info: FilmInfo,
    out: Path,
    format: FilmFormat,
    pts: IntArray,
) -> int:
    """Returns how many tracks of sound went along."""
    whole = plan[0].start_pts == info.start_pts
    shift_pts = 0 if whole else plan[0].start_pts
    with ExitStack() as stack:
        first = stack.enter_context(av.open(str(segments[0]), format="nut"))
        time_base = Fraction(1, info.time_base.denominator)
        options = {} if format == "webm" else _mp4_options(time_base)
        output = stack.enter_context(av.open(str(out), "w", format=format, container_options=options))
        video = output.add_stream_from_template(first.streams.video[0])
        video.time_base = time_base
        video.codec_context.framerate = info.frame_rate
        start_s, end_s = plan[0].start_pts * info.time_base, plan[-1].end_pts * info.time_base
        copies = stack.enter_context(open_audio(original, info, output, format)) if info.audio else []
        cut = None if whole and plan[-1].end_pts == info.end_pts else (start_s, end_s)
        streams = [
            _video_packets(segments, video, info, pts - shift_pts, plan[-1].end_pts - shift_pts),
            *(copy.packets(cut, shift_pts * info.time_base) for copy in copies),
        ]
        for _, _, packet in heapq.merge(
            *(_numbered(stream, n) for n, stream in enumerate(streams)), key=lambda t: t[:2]
        ):
            output.mux_one(packet)
    return len(copies)


def _mp4_options(time_base: Fraction) -> dict[str, str]:
    return {
        "movflags": "+faststart",
        "video_track_timescale": str(time_base.denominator),
        "movie_timescale": str(min(time_base.denominator, 2**31 - 1)),
    }


def _numbered(stream: Iterator[tuple[float, Any]], number: int) -> Iterator[tuple[float, int, Any]]:
    for time_s, packet in stream:
        yield time_s, number, packet


def _video_packets(
    segments: Sequence[Path], video: Any, info: FilmInfo, pts: IntArray, end_pts: int
) -> Iterator[tuple[float, Any]]:
    """Packets of all segments with their times in the result, and the second at which each is decoded."""
    ordered = np.append(np.sort(pts), end_pts)
    lengths = dict(zip(ordered[:-1].tolist(), np.diff(ordered).tolist(), strict=True))
    unit, time_base = info.time_base.numerator, Fraction(1, info.time_base.denominator)
    times = zip(pts.tolist(), decoding_times(pts).tolist(), strict=True)
    for path in segments:
        with av.open(str(path), format="nut") as source:
            for packet in source.demux(source.streams.video[0]):
                if not packet.size:
                    continue
                at, decoded_at = next(times)
                packet.time_base = time_base
                packet.pts, packet.dts, packet.duration = at * unit, decoded_at * unit, lengths[at] * unit
                packet.stream = video
                yield float(decoded_at * info.time_base), packet
