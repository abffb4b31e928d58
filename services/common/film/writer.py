"""Writes a segment of a film: pictures with their own time stamps, coded alike in all segments.

A segment is a NUT file, which keeps every time base exactly; it begins with a key frame and refers to nothing outside,
so that joining (join.py) only copies packets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

import av

from services.common.errors import LikenessError
from services.common.film.frames import FilmFrame
from services.common.film.probe import FilmInfo

SEGMENT_CONTENT_TYPE: Final = "video/x-nut"
KEYFRAME_EVERY_S: Final = 2.0
Codec = Literal["h264", "vp9"]
_ENCODERS: Final = {"h264": "libx264", "vp9": "libvpx-vp9"}
_DEFAULT_CRF: Final = {"h264": 18, "vp9": 24}
_MAX_CRF: Final = {"h264": 51, "vp9": 63}
# Less is tried for what moves: 20 ms instead of 32 for a 720p picture; 27 % more bits where all of it moves, else none.
FASTER: Final = "subme=1:partitions=i8x8,i4x4"
_GLOBAL_HEADER: Final = 1 << 22


@dataclass(frozen=True)
class FilmCoding:
    """How pictures are written; the same for all segments of a film.

    Attributes:
        crf: constant rate factor, lower is better and larger; None means 18 for H.264, 24 for VP9.
        height_px: of the result, even; 0 keeps the film's.

    Raises:
        LikenessError: INVALID_FIELD for a crf out of range.
    """

    codec: Codec = "h264"
    crf: int | None = None
    height_px: int = 0

    def __post_init__(self) -> None:
        if self.crf is not None and not 0 <= self.crf <= _MAX_CRF[self.codec]:
            detail = f"crf must lie between 0 and {_MAX_CRF[self.codec]} for {self.codec}, got {self.crf}."
            raise LikenessError("INVALID_FIELD", detail, field="film_options.crf")


class SegmentWriter:
    """Encodes pictures into a file. A context manager; the file is whole once it was left without an exception.

    Args:
        info: of the film of which this is a segment.
        threads: of the encoder; does not change what other segments must look like.
    """

    def __init__(self, path: Path, info: FilmInfo, coding: FilmCoding, *, threads: int = 1) -> None:
        width_px, height_px = info.output_size(coding.height_px)
        self.frames = 0
        self._last_pts: int | None = None
        self._time_base = info.time_base
        self._output: Any = av.open(str(path), "w", format="nut", container_options={"avoid_negative_ts": "disabled"})
        crf = _DEFAULT_CRF[coding.codec] if coding.crf is None else coding.crf
        options = _options(coding.codec, crf, threads)
        self._stream: Any = self._output.add_stream(_ENCODERS[coding.codec], rate=info.frame_rate, options=options)
        context: Any = self._stream.codec_context
        context.width, context.height, context.pix_fmt = width_px, height_px, "yuv420p"
        context.time_base = self._stream.time_base = info.time_base
        context.sample_aspect_ratio = info.pixel_aspect
        context.flags |= _GLOBAL_HEADER
        context.gop_size = max(1, round(float(info.frame_rate) * KEYFRAME_EVERY_S))
        context.thread_count = threads
        colour = info.colour
        context.color_range = 2 if colour.full_range else 1
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        context.colorspace = colour.matrix

    def write(self, frame: FilmFrame) -> None:
        """Adds a picture; time stamps ascend."""
        if self._last_pts is not None and frame.pts <= self._last_pts:
            raise ValueError(f"time stamp {frame.pts} after {self._last_pts}")
        self._last_pts = frame.pts
        frame.picture.pts, frame.picture.time_base = frame.pts, self._time_base
        self._output.mux(self._stream.encode(frame.picture))
        self.frames += 1

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._output.mux(self._stream.encode(None))
        finally:
            self._output.close()


def _options(codec: Codec, crf: int, threads: int) -> dict[str, str]:
    if codec == "h264":
        return {"preset": "veryfast", "x264-params": FASTER, "crf": str(crf), "threads": str(threads)}
    return {
        "crf": str(crf),
        "b": "0",
        "deadline": "good",
        "cpu-used": "5",
        "row-mt": "1",
        "threads": str(threads),
    }
