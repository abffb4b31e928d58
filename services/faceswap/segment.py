"""Swaps faces in one stretch of a film: a thread decodes, one swaps, one marks and encodes.

The queues between them are short, so memory does not grow with the film. Some pictures before the first wanted one are
swapped, too, and thrown away: so the faces are known, smoothed and settled where the segment begins, as is all that the
engine remembers of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from services.common.errors import LikenessError
from services.common.film import FilmCoding, FilmInfo, SegmentWriter, probe_film, read_frames
from services.common.film.frames import FilmFrame
from services.common.marking.frame_marker import FrameMarker
from services.faceswap.face_engine import Look
from services.faceswap.label import draw_label
from services.faceswap.pipeline import Pipeline
from services.faceswap.planes import PlanesCanvas
from services.faceswap.selection import Person
from services.faceswap.sequence import SequenceSwapper
from services.faceswap.swapper import FaceSwapper
from services.faceswap.track_log import SegmentTrack, TrackLog

RUN_IN_S: Final = 0.5
LONG_RUN_IN_S: Final = 10.0  # where it matters who was there first: followed, but only the last of it painted
PROGRESS_EVERY_S: Final = 0.5


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """A finished segment.

    Attributes:
        frames: pictures written.
        seconds: processor time by part: "decode", "swap", "encode" with the mark.
    """

    path: Path
    frames: int
    width_px: int
    height_px: int
    tracks: tuple[SegmentTrack, ...]
    seconds: dict[str, float]


def swap_segment(
    swapper: FaceSwapper,
    film: Path,
    out: Path,
    people: Sequence[Person],
    look: Look | None = None,
    *,
    start_pts: int = 0,
    end_pts: int = 0,
    coding: FilmCoding | None = None,
    info: FilmInfo | None = None,
    marker: FrameMarker | None = None,
    label: str = "",
    measure: bool = False,
    encoder_threads: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> SegmentResult:
    """Swaps the pictures with start_pts <= pts < end_pts and writes them to `out` (see `SegmentWriter`).

    Args:
        film: the whole film.
        out: appears only once it is whole.
        start_pts, end_pts: in the film's time base; both 0 mean the whole film.
        info: what `probe_film` says of the film, where it is known already.
        marker: marks every picture, with faces or without; None leaves them unmarked.
        label: ASCII text that every picture shows; empty for none.
        measure: whether the recogniser judges each track once.
        on_progress: called in this thread, about twice a second and at the end, with pictures done and in all.
        is_cancelled: asked several times a second.

    Raises:
        LikenessError: MEDIA_* for a film that cannot be read, with the time at which it is damaged; INVALID_FIELD when
            it has no picture in that span; CANCELLED.
    """
    info = info or probe_film(film)
    coding = coding or FilmCoding()
    if start_pts == 0 and end_pts == 0:
        start_pts, end_pts = info.start_pts, info.end_pts
    wanted = info.frame_pts[(info.frame_pts >= start_pts) & (info.frame_pts < end_pts)]
    if not len(wanted):
        detail = f"The film has no picture between the time stamps {start_pts} and {end_pts}."
        raise LikenessError("INVALID_FIELD", detail, field="start_pts")
    size = info.output_size(coding.height_px)
    run_in_s = LONG_RUN_IN_S if _who_was_first(swapper, film, info, int(wanted[0]), people) else RUN_IN_S
    run_in = int(np.searchsorted(info.frame_pts, start_pts - run_in_s / float(info.time_base)))
    frames = read_frames(film, info, int(info.frame_pts[run_in]), end_pts, size=size)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=".segment-")
    os.close(handle)
    try:
        with SegmentWriter(Path(name), info, coding, threads=encoder_threads) as writer:

            def finish(frame: FilmFrame) -> None:
                _sign(frame, marker, label)
                writer.write(frame)

            pipeline = Pipeline(frames, finish, is_cancelled)
            work = _Work(swapper, people, look, info, int(wanted[0]))
            reported_s = time.monotonic()
            with pipeline:
                for frame in pipeline.frames():
                    if work.swap(frame):
                        pipeline.write(frame)
                    if time.monotonic() - reported_s >= PROGRESS_EVERY_S:
                        reported_s = time.monotonic()
                        on_progress(work.done, len(wanted))
        if writer.frames != len(wanted):
            raise RuntimeError(f"{writer.frames} of {len(wanted)} pictures were written")
        os.replace(name, out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    on_progress(work.done, len(wanted))
    seconds = {"decode": pipeline.decode_s, "swap": work.seconds, "encode": pipeline.encode_s}
    return SegmentResult(out, work.done, *size, work.log.tracks(measure=measure), seconds)


def _who_was_first(swapper: FaceSwapper, film: Path, info: FilmInfo, first_pts: int, people: Sequence[Person]) -> bool:
    """Whether the choice of a face depends on what was before the segment.

    The largest face, or the first from the left, is chosen when it appears and stays chosen. Where a segment begins in
    the middle of a shot with several faces, that beginning has to be seen, or else each segment would choose its own.
    """
    if first_pts == info.start_pts or all(p.selector.selection in ("all", "reference") for p in people):
        return False
    frame = next(read_frames(film, info, first_pts, first_pts + 1))
    return len(swapper.finder.find_fast(PlanesCanvas(frame).whole())) > 1


def _sign(frame: FilmFrame, marker: FrameMarker | None, label: str) -> None:
    """Writes what a finished picture shows of its making: a label for the eye, a mark for the search."""
    if label:
        draw_label(frame.luma, label)
    if marker is not None:
        marker.mark_luma(frame.luma, full_range=frame.colour.full_range)


class _Work:
    """What is done with each picture."""

    def __init__(
        self,
        swapper: FaceSwapper,
        people: Sequence[Person],
        look: Look | None,
        info: FilmInfo,
        first_pts: int,
    ) -> None:
        self._sequence = SequenceSwapper(swapper, people, look)
        self._info = info
        self._first_pts = first_pts
        self.log = TrackLog(swapper, people)
        self.done = 0
        self.seconds = 0.0

    def swap(self, frame: FilmFrame) -> bool:
        """Whether the picture belongs to the segment."""
        began_s = time.thread_time()
        wanted = frame.pts >= self._first_pts
        paint = self._info.time_s(frame.pts) >= self._info.time_s(self._first_pts) - RUN_IN_S - 1e-6
        faces, _ = self._sequence.swap_canvas(PlanesCanvas(frame), self._info.time_s(frame.pts), paint=paint)
        if wanted:
            self.log.add(frame.pts, faces)
            self.done += 1
        self.seconds += time.thread_time() - began_s
        return wanted
