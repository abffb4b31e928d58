"""Where a film is cut into segments that are worked on apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.film.probe import FilmInfo

FloatArray = NDArray[np.floating]
DEFAULT_SEGMENT_S: Final = 5.0
KEYFRAME_REACH: Final = 0.4  # share of a segment's length by which a cut moves to a key frame, where decoding is cheap


@dataclass(frozen=True)
class SegmentSpan:
    """Pictures with start_pts <= pts < end_pts, in the film's time base."""

    start_pts: int
    end_pts: int


def plan_segments(
    info: FilmInfo, seconds: float = DEFAULT_SEGMENT_S, start_s: float | None = None, end_s: float | None = None
) -> list[SegmentSpan]:
    """Cuts a film, or the part from `start_s` to `end_s`, into segments of about `seconds`.

    Times count from the film's first picture. A picture belongs to the part when its own time lies in [start_s, end_s).
    Cuts lie on key frames where one is near.

    Raises:
        LikenessError: INVALID_FIELD when the part holds no picture.
    """
    if seconds <= 0:
        raise ValueError(f"seconds must be positive, got {seconds}")
    times_s = (info.frame_pts - info.start_pts) * float(info.time_base)
    first, last = _part(info, times_s, start_s, end_s)
    step_s = seconds
    count = max(1, round((float(times_s[last - 1]) - float(times_s[first])) / step_s))
    wanted_s = np.linspace(times_s[first], _time_after(info, times_s, last), count + 1)
    keys_s = (info.keyframe_pts - info.start_pts) * float(info.time_base)
    cuts = [first]
    for at_s in wanted_s[1:-1]:
        near = keys_s[np.abs(keys_s - at_s) < KEYFRAME_REACH * step_s]
        cut_s = float(near[np.argmin(np.abs(near - at_s))]) if len(near) else float(at_s)
        cut = int(np.searchsorted(times_s, cut_s - 1e-9))
        if cuts[-1] < cut < last:
            cuts.append(cut)
    starts = [int(info.frame_pts[cut]) for cut in cuts]
    end_pts = int(info.frame_pts[last]) if last < info.frame_count else info.end_pts
    return [SegmentSpan(a, b) for a, b in zip(starts, [*starts[1:], end_pts], strict=True)]


def _part(info: FilmInfo, times_s: FloatArray, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Indices of the first picture, and after the last."""
    start_s, end_s = start_s or 0.0, info.duration_s if end_s is None else end_s
    for name, value in (("start_s", start_s), ("end_s", end_s)):
        if not 0.0 <= value < float("inf"):
            raise LikenessError("INVALID_FIELD", f"{name} must be a time in seconds, got {value:g}.", field=name)
    tolerance = 1e-6
    first = int(np.searchsorted(times_s, start_s - tolerance))
    last = info.frame_count if end_s >= info.duration_s else int(np.searchsorted(times_s, end_s - tolerance))
    if first >= last:
        detail = f"The film has no picture between {start_s:g} s and {end_s:g} s; it lasts {info.duration_s:.2f} s."
        raise LikenessError("INVALID_FIELD", detail, field="end_s" if start_s < info.duration_s else "start_s")
    return first, last


def _time_after(info: FilmInfo, times_s: FloatArray, last: int) -> float:
    return float(times_s[last]) if last < info.frame_count else info.duration_s
