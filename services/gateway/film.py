"""A swapped film, step by step: probe, plan, swap the segments, join, publish.

Each step is a plain function of what the step before returned, and can be called again without harm: whoever runs films
in another way (a durable queue) wraps these. `swap_film` calls them one after the other. Segments are worked on at the
same time by however many replicas of the stage there are; one that fails is tried again alone; the film is published
whole or not at all.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import grpc
import numpy as np

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.errors import LikenessError
from services.common.film import CONTENT_TYPES, FilmFormat, FilmInfo, SegmentSpan, join_film, plan_segments, probe_film
from services.common.store import fetch_reference
from services.gateway.assignments import Assignment, for_stage
from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.film_progress import FilmProgress
from services.gateway.halting import Halt
from services.gateway.media import publish_file
from services.gateway.painting import Painting
from services.gateway.stages import Call

TICK_S: Final = 0.5
FIRST_BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 8.0
# What another replica, or the same one in a moment, may do better.
_RETRIED: Final = frozenset(
    ("STAGE_UNAVAILABLE", "DRAINING", "MODEL_LOADING", "QUEUE_FULL", "DEADLINE_EXCEEDED", "STORE_UNAVAILABLE")
)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmOptions:
    """Which part of the film, and how the result is written. None leaves the choice to the stage."""

    format: FilmFormat
    start_s: float | None = None
    end_s: float | None = None
    crf: int | None = None
    height_px: int | None = None

    def message(self) -> faceswap_pb2.FilmOptions:
        codec = faceswap_pb2.FILM_CODEC_VP9 if self.format == "webm" else faceswap_pb2.FILM_CODEC_H264
        message = faceswap_pb2.FilmOptions(codec=codec, height_px=self.height_px or 0)
        if self.crf is not None:
            message.crf = self.crf
        return message

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(**value)


@dataclass(frozen=True)
class FilmTask:
    """All that the steps need to know of a job."""

    job_id: str
    tenant: str
    film: types_pb2.MediaReference
    assignments: Sequence[Assignment]
    painting: Painting
    options: FilmOptions


@dataclass(frozen=True)
class Segment:
    """A stretch of the film: where it lies, and how many pictures it has."""

    number: int
    span: SegmentSpan
    frames: int


@dataclass(frozen=True)
class SwappedFilm:
    """The published result and what was measured."""

    media: Media
    figures: dict[str, Any]


def probe(gateway: Gateway, film: types_pb2.MediaReference) -> FilmInfo:
    """What kind of film it is. Raises LikenessError MEDIA_*."""
    with fetch_reference(gateway.store, film) as path:
        return probe_film(path, field="target")


def plan(info: FilmInfo, options: FilmOptions, segment_seconds: float) -> list[Segment]:
    """The segments, in order. Raises LikenessError INVALID_FIELD when start and end leave nothing of the film."""
    spans = plan_segments(info, segment_seconds, options.start_s, options.end_s)
    frames = [
        int(np.searchsorted(info.frame_pts, span.end_pts) - np.searchsorted(info.frame_pts, span.start_pts))
        for span in spans
    ]
    return [Segment(number, span, count) for number, (span, count) in enumerate(zip(spans, frames, strict=True))]


def swap_segment(
    gateway: Gateway, task: FilmTask, segment: Segment, call: Call, halt: Halt, progress: FilmProgress
) -> faceswap_pb2.SegmentResult:
    """One segment on whichever replica takes it, tried again while stages fail. Consents are looked at each time.

    Raises:
        LikenessError: CONSENT_*, NOT_FOUND, what the stage says of the film, or what all attempts failed with.
    """
    attempts = gateway.settings.segment_attempts
    for attempt in range(1, attempts + 1):
        halt.check()
        call.remaining_s()
        people = for_stage(gateway, task.tenant, task.assignments)
        try:
            return _attempt(gateway, task, segment, attempt, people, call, halt, progress)
        except LikenessError as error:
            halt.check()
            if error.reason not in _RETRIED or attempt == attempts:
                raise
            _log.warning("segment %d of %s failed: %s", segment.number, task.job_id, error.detail)
            progress.start_again(segment.number)
            halt.wait(min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (attempt - 1)))
    raise AssertionError("unreachable: the last attempt returns or raises")


def join(
    gateway: Gateway,
    task: FilmTask,
    info: FilmInfo,
    segments: Sequence[Segment],
    results: Sequence[faceswap_pb2.SegmentResult],
    out: Path,
) -> None:
    """Writes the segments and the original's sound as one film. Raises LikenessError when a picture is missing."""
    with ExitStack() as stack:
        original = stack.enter_context(fetch_reference(gateway.store, task.film))
        parts = [stack.enter_context(fetch_reference(gateway.store, result.segment)) for result in results]
        join_film(parts, [segment.span for segment in segments], original, info, out, format=task.options.format)


def publish(gateway: Gateway, task: FilmTask, path: Path) -> Media:
    """Gives the finished film an id by which it can be fetched."""
    content_type = CONTENT_TYPES[task.options.format]
    return publish_file(gateway, path, tenant=task.tenant, content_type=content_type, purpose="swap")


def clean_up(gateway: Gateway, job_id: str) -> None:
    """Deletes the segments."""
    for stored in gateway.store.list(f"work/{job_id}/"):
        gateway.store.delete(stored.key)


def swap_film(gateway: Gateway, task: FilmTask, call: Call, halt: Halt, progress: FilmProgress) -> SwappedFilm:
    """All steps. `progress.tick` is called about twice a second and may stop the work through `halt`.

    Raises:
        LikenessError: what a step failed with, or the reason why it was stopped.
    """
    started_at = time.monotonic()
    try:
        progress.enter("probing")
        info = probe(gateway, task.film)
        segments = plan(info, task.options, gateway.settings.segment_seconds)
        progress.enter("swapping", frames_total=sum(segment.frames for segment in segments))
        results = _swap_segments(gateway, task, segments, call, halt, progress)
        progress.enter("joining")
        if not any(track.frames_swapped for result in results for track in result.tracks):
            detail = "No face of the film was chosen, so that nothing was replaced in it."
            raise LikenessError("FACE_NOT_FOUND", detail, field="target")
        folder = gateway.settings.spool_dir
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="film-") as scratch:
            out = Path(scratch) / f"film.{task.options.format}"
            join(gateway, task, info, segments, results, out)
            halt.check()
            media = publish(gateway, task, out)
    finally:
        clean_up(gateway, task.job_id)
    return SwappedFilm(media, _figures(task, info, results, started_at, progress))


def _swap_segments(
    gateway: Gateway, task: FilmTask, segments: Sequence[Segment], call: Call, halt: Halt, progress: FilmProgress
) -> list[faceswap_pb2.SegmentResult]:
    """Results in order of the segments. The first failure stops all others."""
    own = Halt()
    results: dict[int, faceswap_pb2.SegmentResult] = {}
    with ThreadPoolExecutor(gateway.settings.film_parallel_segments, thread_name_prefix="segment") as pool:
        pending: dict[Future[faceswap_pb2.SegmentResult], Segment] = {
            pool.submit(swap_segment, gateway, task, segment, call, own, progress): segment for segment in segments
        }
        try:
            while pending:
                done, _ = wait(pending, timeout=TICK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    results[pending.pop(future).number] = future.result()
                progress.tick()
                halt.check()
                call.remaining_s()
        except BaseException as error:
            why = error if isinstance(error, LikenessError) else LikenessError("INTERNAL", "The film has failed.")
            own.stop(why)
            for future in pending:
                future.cancel()
            raise
    return [results[segment.number] for segment in segments]


def _attempt(
    gateway: Gateway,
    task: FilmTask,
    segment: Segment,
    attempt: int,
    people: Sequence[faceswap_pb2.FaceAssignment],
    call: Call,
    halt: Halt,
    progress: FilmProgress,
) -> faceswap_pb2.SegmentResult:
    key = f"work/{task.job_id}/{segment.number:05d}-{attempt}"  # a replica given up may still write to its own
    request = faceswap_pb2.SwapSegmentRequest(
        film=task.film,
        start_pts=segment.span.start_pts,
        end_pts=segment.span.end_pts,
        assignments=people,
        options=task.painting.message(),
        film_options=task.options.message(),
        destination=types_pb2.MediaReference(bucket=gateway.store.bucket, key=key),
    )
    limit = Call(call.request_id, min(call.expires_at, time.monotonic() + gateway.settings.segment_deadline_s))
    running = gateway.stages.swap_segment(request, limit)
    try:
        with halt.cancelling(running):
            for response in running:
                if response.WhichOneof("content") == "result":
                    progress.report(segment.number, response.result.frames)
                    result: faceswap_pb2.SegmentResult = response.result
                    return result
                progress.report(segment.number, response.progress.frames_done)
    except grpc.RpcError as error:
        gateway.stages.raise_from("faceswap", error)
    raise LikenessError("STAGE_UNAVAILABLE", "The faceswap ended a segment without a result.", retry_after_s=1.0)


def _figures(
    task: FilmTask,
    info: FilmInfo,
    results: Sequence[faceswap_pb2.SegmentResult],
    started_at: float,
    progress: FilmProgress,
) -> dict[str, Any]:
    seconds = time.monotonic() - started_at
    frames = sum(result.frames for result in results)
    tracks = [track for result in results for track in result.tracks]
    return {
        "seconds": round(seconds, 3),
        "width_px": results[0].width_px,
        "height_px": results[0].height_px,
        "frames": frames,
        "frames_per_second": round(frames / seconds, 2),
        "film_frame_rate": round(float(info.frame_rate), 3),
        "segments": len(results),
        "retries": progress.retries,
        "people": [
            _person(assignment, [track for track in tracks if track.assignment == number])
            for number, assignment in enumerate(task.assignments)
        ],
    }


def _person(assignment: Assignment, tracks: Sequence[faceswap_pb2.FaceTrack]) -> dict[str, Any]:
    """How often somebody was put in, and how like the result is: means over the tracks, weighted by their frames."""
    record: dict[str, Any] = {
        "face": assignment.face,
        "frames_swapped": sum(track.frames_swapped for track in tracks),
    }
    for name in ("distance_to_source", "distance_to_target"):
        measured = [(getattr(track, name), track.frames_swapped) for track in tracks if getattr(track, name) >= 0]
        weight = sum(frames for _, frames in measured)
        mean = sum(value * frames for value, frames in measured) / weight if weight else None
        record[name] = None if mean is None else round(mean, 4)
    return record
