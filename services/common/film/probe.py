"""What a film file holds: every picture's time stamp, how the pictures are to be shown, and the sound beside them.

All packets of the video are visited, none but the first is decoded: what a file claims of itself is not relied on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.film.orientation import UPRIGHT, Orientation, orientation_of
from services.common.film.source import (
    AUDIO_DECODERS,
    MAX_FRAME_PIXELS,
    cut_off,
    damage_reported,
    open_source,
    require_film,
    video_stream,
)

MAX_SIDE_PX: Final = 8192
MIN_SIDE_PX: Final = 16
MAX_FRAMES: Final = 500_000
MAX_DURATION_S: Final = 2 * 3600.0
MAX_PROBE_S: Final = 120.0  # of looking at one file
DEFAULT_FRAME_RATE: Final = Fraction(10)  # of a film that is one picture and does not say how long it is shown

Container = Literal["mov", "matroska", "gif", "webp"]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class AudioTrack:
    """One stream of sound; `index` counts the audio streams of the file, from 0."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int
    language: str


@dataclass(frozen=True)
class Colour:
    """How pixels are to be understood: code points of ITU-T H.273 (2 is unspecified), and whether 0 is black."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False


@dataclass(frozen=True, eq=False)
class FilmInfo:
    """What a film holds.

    Attributes:
        container: FFmpeg's name, by content.
        codec, pixel_format: of the pictures, FFmpeg's names.
        width_px, height_px: of a picture once it stands upright.
        orientation: how a decoded picture is brought upright.
        frame_rate: pictures per second, on average.
        time_base: seconds per unit of all time stamps (pts).
        frame_pts: time stamp of every picture, ascending.
        keyframe_pts: of those at which decoding can begin.
        end_pts: where the last picture's time is over.
        pixel_aspect: width of a pixel over its height, upright.
        animation: GIF or animated WebP.
    """

    container: Container
    codec: str
    pixel_format: str
    width_px: int
    height_px: int
    orientation: Orientation
    frame_rate: Fraction
    time_base: Fraction
    frame_pts: IntArray
    keyframe_pts: IntArray
    end_pts: int
    pixel_aspect: Fraction
    colour: Colour
    audio: tuple[AudioTrack, ...]

    @property
    def animation(self) -> bool:
        return self.container in ("gif", "webp")

    @property
    def frame_count(self) -> int:
        return len(self.frame_pts)

    @property
    def start_pts(self) -> int:
        return int(self.frame_pts[0])

    @property
    def duration_s(self) -> float:
        return float((self.end_pts - self.start_pts) * self.time_base)

    def time_s(self, pts: int) -> float:
        """Seconds from the film's first picture."""
        return float((pts - self.start_pts) * self.time_base)

    def output_size(self, height_px: int = 0) -> tuple[int, int]:
        """Width and height of the film that is made of it: even, since 4:2:0 video has no others.

        An odd side is widened by one line, which repeats the last one.

        Args:
            height_px: wanted height; 0 keeps the film's.

        Raises:
            LikenessError: INVALID_FIELD for a height that is odd or out of range.
        """
        if height_px == 0:
            return self.width_px + self.width_px % 2, self.height_px + self.height_px % 2
        width_px = max(2, 2 * round(self.width_px * height_px / self.height_px / 2))
        if height_px % 2 or not MIN_SIDE_PX <= height_px <= MAX_SIDE_PX or width_px * height_px > MAX_FRAME_PIXELS:
            detail = (
                f"A height of {height_px} pixels is not possible; choose an even number from {MIN_SIDE_PX} with which "
                f"a picture has at most {MAX_FRAME_PIXELS // 10**6} million pixels."
            )
            raise LikenessError("INVALID_FIELD", detail, field="film_options.height_px")
        return width_px, height_px


def probe_film(path: Path, *, field: str = "film") -> FilmInfo:
    """Looks through a film file.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_UNSUPPORTED, MEDIA_UNREADABLE (damaged, cut off) or MEDIA_TOO_LARGE (pixels of
            a picture, number of pictures, duration, bytes), naming `field`.
    """
    container = require_film(path, field)
    if container == "webp":
        from services.common.film.animated_webp import probe_webp  # loads OpenCV only where it is needed

        return probe_webp(path, field)
    with damage_reported(container, field), open_source(path, container) as source:
        stream = video_stream(source, field)
        check_size(stream.codec_context.width, stream.codec_context.height, field)
        audio = _audio_tracks(source)
        first, packets = _visit(source, stream, container, field)
        return _info(container, stream, first, packets, audio)


@dataclass(frozen=True, eq=False)
class _Packets:
    """Time stamps of a film's pictures, in order, those that are key frames, and where the last one ends."""

    pts: IntArray
    key_pts: IntArray
    end_pts: int


def _visit(source: Any, stream: Any, container: str, field: str) -> tuple[Any, _Packets]:
    """The first decoded picture, and the time stamps of all."""
    started = time.monotonic()
    first, count = None, 0
    pts: list[int] = []
    keys: list[int] = []
    last = (-(2**63), 0)  # time stamp and duration of the last picture
    limit_pts = MAX_DURATION_S / float(stream.time_base)
    for packet in source.demux(stream):
        if first is None:
            first = next(iter(packet.decode()), None)  # an empty packet at the end lets out what is left
            if first is not None:
                check_size(first.width, first.height, field)
        if packet.size == 0:
            continue
        if packet.is_corrupt:
            raise cut_off(container, field)
        if packet.is_discard or not _is_shown(packet, stream.codec_context.name):
            continue
        if packet.pts is None:
            detail = "The film has pictures without a time stamp; make it anew with another program."
            raise LikenessError("MEDIA_UNREADABLE", detail, field=field)
        count += 1
        pts.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
        last = max(last, (packet.pts, packet.duration or 0))
        if count > MAX_FRAMES:
            detail = f"The film has more than {MAX_FRAMES} pictures; send a shorter part of it."
            raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
        if abs(packet.pts - pts[0]) > limit_pts:
            detail = f"The film is longer than {MAX_DURATION_S / 3600:g} hours; send a shorter part of it."
            raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
        if time.monotonic() - started > MAX_PROBE_S:
            detail = f"Looking through the film took longer than {MAX_PROBE_S:.0f} s; send a shorter part of it."
            raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    if not pts:
        raise LikenessError("MEDIA_EMPTY", "The film holds no picture.", field=field)
    if first is None:
        raise LikenessError("MEDIA_UNREADABLE", "Not one picture of the film can be decoded.", field=field)
    ordered = np.unique(np.array(pts, np.int64))
    if keys:  # what stands before the first key frame leans on pictures that are not in the file
        ordered = ordered[ordered >= min(keys)]
    step = int(np.median(np.diff(ordered))) if len(ordered) > 1 else _default_step(stream)
    return first, _Packets(ordered, np.unique(np.array(keys or pts[:1], np.int64)), last[0] + (last[1] or step))


def _default_step(stream: Any) -> int:
    return max(1, round(1 / Fraction((stream.average_rate or DEFAULT_FRAME_RATE) * stream.time_base)))


def _is_shown(packet: Any, codec: str) -> bool:
    """False for VP8's hidden pictures, which only serve others (RFC 6386, 9.1)."""
    return codec != "vp8" or bool(bytes(packet)[0] & 0x10)


def check_size(width_px: int, height_px: int, field: str) -> None:
    if min(width_px, height_px) < MIN_SIDE_PX and width_px * height_px:
        detail = f"The film has {width_px} x {height_px} pixels; at least {MIN_SIDE_PX} on a side are needed."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    if max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_FRAME_PIXELS:
        detail = (
            f"The film has {width_px} x {height_px} pixels; at most {MAX_FRAME_PIXELS // 10**6} million and "
            f"{MAX_SIDE_PX} on a side are accepted. Make it smaller first."
        )
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)


def _audio_tracks(source: Any) -> tuple[AudioTrack, ...]:
    """Those that can be decoded; others, such as a phone's spatial sound beside the common one, are left out."""
    return tuple(
        AudioTrack(index, context.name, context.sample_rate, context.channels, stream.language or "")
        for index, stream in enumerate(source.streams.audio)
        if (context := stream.codec_context) is not None and context.name in AUDIO_DECODERS and context.sample_rate
    )


def _info(container: str, stream: Any, first: Any, packets: _Packets, audio: tuple[AudioTrack, ...]) -> FilmInfo:
    orientation = UPRIGHT if container == "gif" else orientation_of(first)
    width_px, height_px = orientation.size(first.width, first.height)
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    if aspect <= 0:
        aspect = Fraction(1)
    return FilmInfo(
        container=container,  # type: ignore[arg-type]
        codec=stream.codec_context.name,
        pixel_format=first.format.name,
        width_px=width_px,
        height_px=height_px,
        orientation=orientation,
        frame_rate=_frame_rate(stream, packets),
        time_base=Fraction(stream.time_base),
        frame_pts=packets.pts,
        keyframe_pts=packets.key_pts,
        end_pts=packets.end_pts,
        pixel_aspect=1 / aspect if orientation.swaps_sides else aspect,
        colour=_colour(first),
        audio=audio,
    )


def _frame_rate(stream: Any, packets: _Packets) -> Fraction:
    """What the file says where it agrees with its time stamps, else their mean."""
    mean = Fraction(len(packets.pts), 1) / ((packets.end_pts - int(packets.pts[0])) * Fraction(stream.time_base))
    for claimed in (stream.average_rate, stream.guessed_rate):
        if claimed and abs(claimed / mean - 1) < 0.01:
            return Fraction(claimed)
    return min(max(mean.limit_denominator(1001), Fraction(1, 1000)), Fraction(1000))


def _colour(frame: Any) -> Colour:
    if frame.format.is_rgb or frame.format.name == "pal8" or frame.colorspace == 0:
        hd = frame.height >= 720  # as players assume where nothing is said
        return Colour(1, 1, 1, False) if hd else Colour(6, 6, 6, False)
    full_range = frame.color_range == 2 or frame.format.name.startswith("yuvj")
    return Colour(int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace), full_range)
