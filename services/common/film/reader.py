"""Pictures of a film from any of them on, exactly: decoding begins at the key frame before.

Every picture that the film's packets promise must come, in order and undamaged; else the film counts as damaged at that
time. So nothing that was only partly read passes for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.common.errors import LikenessError
from services.common.film.frames import FilmFrame, film_frame
from services.common.film.probe import FilmInfo
from services.common.film.source import DAMAGE, open_source, video_stream

SEEKS: Final = 3  # key frames that are tried, one before the other, and then the film's beginning
SETTLING: Final = 16  # pictures; so many at most a decoder puts into another order, and some first have to see how many


def read_frames(
    path: Path,
    info: FilmInfo,
    start_pts: int | None = None,
    end_pts: int | None = None,
    *,
    size: tuple[int, int] | None = None,
    field: str = "film",
) -> Iterator[FilmFrame]:
    """Yields the pictures with start_pts <= pts < end_pts.

    Args:
        info: what `probe_film` said of the file.
        size: width and height of the pictures; None means `info.output_size()`.

    Raises:
        LikenessError: MEDIA_UNREADABLE with the time at which the film is damaged.
    """
    start_pts = info.start_pts if start_pts is None else start_pts
    end_pts = info.end_pts if end_pts is None else end_pts
    expected = info.frame_pts[(info.frame_pts >= start_pts) & (info.frame_pts < end_pts)]
    if not len(expected):
        return
    size = size or info.output_size()
    if info.container == "webp":
        from services.common.film.animated_webp import read_webp

        yield from read_webp(path, info, expected, size, field)
        return
    whole_from = int(info.frame_pts[max(0, int(np.searchsorted(info.frame_pts, expected[0])) - SETTLING)])
    attempts = [*((start, whole_from) for start in [*_starts(info, int(expected[0])), None]), (None, None)]
    for start, thin_until in attempts:
        position = 0
        try:
            with open_source(path, info.container) as source:
                for decoded in _decoded(source, start, thin_until, field):
                    if decoded.pts is None or decoded.pts < expected[position]:
                        continue
                    if decoded.pts > expected[position] or decoded.is_corrupt:
                        break
                    yield film_frame(decoded, info, size)
                    position += 1
                    if position == len(expected):
                        return
        except DAMAGE as error:
            if position or thin_until is None:
                raise _damaged(info, int(expected[position]), field) from error
        if position:
            break
    raise _damaged(info, int(expected[position]), field)


def _starts(info: FilmInfo, wanted_pts: int) -> list[int]:
    """Key frames to begin at, the best one first. With some codings pictures are whole only a while after one."""
    earlier = info.keyframe_pts[info.keyframe_pts <= wanted_pts]
    return [int(pts) for pts in earlier[::-1][:SEEKS] if pts != info.keyframe_pts[0]]


def _damaged(info: FilmInfo, pts: int, field: str) -> LikenessError:
    detail = (
        f"The film is damaged at {info.time_s(pts):.2f} s: the picture there cannot be decoded. "
        "Make the film anew with another program, or choose a part that is whole."
    )
    return LikenessError("MEDIA_UNREADABLE", detail, field=field)


def _decoded(source: Any, start: int | None, thin_until: int | None, field: str) -> Iterator[Any]:
    """Decoded pictures from a key frame on; None is the film's beginning.

    Before the time stamp `thin_until` come only those that others refer to: the rest need not be decoded to be passed
    over, and is about half.
    """
    stream = video_stream(source, field)
    if start is not None:
        source.seek(start, stream=stream)
    for packet in source.demux(stream):
        thin = thin_until is not None and packet.pts is not None and packet.pts < thin_until
        stream.codec_context.skip_frame = "NONREF" if thin else "DEFAULT"
        yield from packet.decode()
