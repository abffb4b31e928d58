"""Segments cover a film, or a part of it, once and wholly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.common.film import Colour, FilmInfo, plan_segments
from services.common.film.orientation import UPRIGHT


def film(pts: list[int], keys: list[int], time_base: Fraction = Fraction(1, 100)) -> FilmInfo:
    end = pts[-1] + 4
    return FilmInfo(
        *("mov", "h264", "yuv420p", 64, 48, UPRIGHT, Fraction(25), time_base),
        *(np.array(pts, np.int64), np.array(keys, np.int64), end, Fraction(1), Colour(), ()),
    )


@given(
    steps=st.lists(st.integers(1, 40), min_size=1, max_size=80),
    offset=st.integers(-50, 500),
    seconds=st.floats(0.05, 20.0),
    part=st.tuples(st.floats(0, 0.9), st.floats(0.05, 1.0)),
    key_every=st.integers(1, 30),
)
def test_every_picture_is_in_one_segment(
    steps: list[int], offset: int, seconds: float, part: tuple[float, float], key_every: int
) -> None:
    pts = (np.cumsum([0, *steps]) + offset).tolist()
    info = film(pts, pts[::key_every])
    start_s, end_s = part[0] * info.duration_s, part[1] * info.duration_s
    inside = [p for p in pts if start_s - 1e-6 <= info.time_s(p) < end_s - 1e-6 or part[1] == 1.0 <= info.time_s(p)]
    try:
        plan = plan_segments(info, seconds, start_s, end_s)
    except LikenessError as error:
        assert error.reason == "INVALID_FIELD"
        assert not inside
        return
    assert all(a.end_pts == b.start_pts for a, b in zip(plan, plan[1:], strict=False))
    assert all(span.start_pts in pts and span.start_pts < span.end_pts for span in plan)
    covered = [p for p in pts if plan[0].start_pts <= p < plan[-1].end_pts]
    if end_s < info.duration_s:
        assert covered == inside


def test_cuts_fall_on_key_frames_that_are_near() -> None:
    pts = list(range(0, 4000, 4))
    info = film(pts, [0, 480, 1040, 2200, 3004])
    plan = plan_segments(info, 10.0)
    assert [span.start_pts for span in plan] == [0, 1040, 2200, 3004]
    assert plan[-1].end_pts == info.end_pts
    assert [span.start_pts for span in plan_segments(film(pts, [0]), 10.0)] == [0, 1000, 2000, 3000]


def test_a_short_film_is_one_segment() -> None:
    for pts in ([0], [0, 4], [700, 704, 708]):
        (span,) = plan_segments(film(pts, pts[:1]), 5.0)
        assert (span.start_pts, span.end_pts) == (pts[0], pts[-1] + 4)


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, 2.0), (3.0, 2.0), (50.0, 60.0), (0.0, float("nan")), (1.0, 1.0)])
def test_parts_without_pictures_are_refused(start_s: float, end_s: float) -> None:
    with pytest.raises(LikenessError) as raised:
        plan_segments(film(list(range(0, 1000, 4)), [0]), 5.0, start_s, end_s)
    assert raised.value.reason == "INVALID_FIELD"
    assert raised.value.field in ("start_s", "end_s")
