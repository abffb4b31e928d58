"""A swapped film, step by step: probe, plan, swap the segments, join.

Each step is a plain function of what the step before returned, and can be called again without harm; what a segment
became is kept under a key that follows from all that it depends on, so that it is made once, whoever asks for it again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
from google.protobuf import json_format

from likeness.v1 import faceswap_pb2, types_pb2
from services.common.errors import LikenessError
from services.common.film import FilmFormat, FilmInfo, SegmentSpan, join_film, plan_segments, probe_film
from services.common.store import fetch_reference
from services.gateway.assignments import Assignment, for_stage, swap_grant
from services.gateway.consents.safety import require_safe_film
from services.gateway.context import Gateway
from services.gateway.film_progress import FilmProgress
from services.gateway.jobs.execution import BrokeOffTooOften, Execution
from services.gateway.jobs.results import work_prefix
from services.gateway.painting import Painting


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
    mark: int | None = None

    def segment_key(self, segment: Segment) -> str:
        """Where the segment's result is kept: under the hash of what it is made of."""
        made_of = [
            [self.film.sha256, segment.span.start_pts, segment.span.end_pts],
            [assignment.to_json() for assignment in self.assignments],
            [self.painting.to_json(), self.options.to_json()],
        ]
        digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
        return f"{work_prefix(self.tenant, self.job_id)}{segment.number:05d}-{digest}"


@dataclass(frozen=True)
class Segment:
    """A stretch of the film: where it lies, and how many pictures it has."""

    number: int
    span: SegmentSpan
    frames: int


def probe(gateway: Gateway, film: types_pb2.MediaReference) -> FilmInfo:
    """What kind of film it is. Raises LikenessError MEDIA_*."""
    with fetch_reference(gateway.store, film) as path:
        return probe_film(path, field="target")


def require_safe(gateway: Gateway, film: types_pb2.MediaReference) -> None:
    """Shows the film to the safety classifier, where there is one. Raises LikenessError SAFETY_*."""
    if gateway.policy.safety_classifier is not None:
        with fetch_reference(gateway.store, film) as path:
            require_safe_film(gateway.policy, path, field="target")


def plan(info: FilmInfo, options: FilmOptions, segment_seconds: float) -> list[Segment]:
    """The segments, in order. Raises LikenessError INVALID_FIELD when start and end leave nothing of the film."""
    spans = plan_segments(info, segment_seconds, options.start_s, options.end_s)
    frames = [
        int(np.searchsorted(info.frame_pts, span.end_pts) - np.searchsorted(info.frame_pts, span.start_pts))
        for span in spans
    ]
    return [Segment(number, span, count) for number, (span, count) in enumerate(zip(spans, frames, strict=True))]


def swap_segment(
    execution: Execution, task: FilmTask, segment: Segment, progress: FilmProgress
) -> faceswap_pb2.SegmentResult:
    """One segment on whichever replica takes it, unless it was made before. Consents are looked at in any case.

    Raises:
        LikenessError: CONSENT_*, NOT_FOUND, what the stage says of the film, or what this attempt failed with.
        BrokeOffTooOften: it has begun and broken off as often as it may.
    """
    people = for_stage(execution.gateway, task.tenant, task.assignments)
    kept = task.segment_key(segment)
    result = _kept_result(execution.gateway, f"{kept}.json")
    if result is None:
        result = _attempt(execution, task, segment, f"{kept}-{secrets.token_hex(4)}", people, progress)
        described = json_format.MessageToJson(result, indent=None).encode()
        execution.gateway.store.put(f"{kept}.json", described, "application/json")
    progress.report(segment.number, result.frames)
    return result


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


def _kept_result(gateway: Gateway, key: str) -> faceswap_pb2.SegmentResult | None:
    """What a segment became, when that is still there."""
    try:
        result = json_format.Parse(gateway.store.get(key), faceswap_pb2.SegmentResult())
        stored = gateway.store.head(result.segment.key)
    except LikenessError as error:
        if error.reason != "NOT_FOUND":
            raise
        return None
    return result if stored.sha256 == result.segment.sha256 else None


def _attempt(
    execution: Execution,
    task: FilmTask,
    segment: Segment,
    key: str,
    people: Sequence[faceswap_pb2.FaceAssignment],
    progress: FilmProgress,
) -> faceswap_pb2.SegmentResult:
    gateway = execution.gateway
    request = faceswap_pb2.SwapSegmentRequest(
        film=task.film,
        start_pts=segment.span.start_pts,
        end_pts=segment.span.end_pts,
        assignments=people,
        options=task.painting.message(),
        film_options=task.options.message(),
        # Of this attempt alone: a replica that was given up may still write to its own.
        destination=types_pb2.MediaReference(bucket=gateway.store.bucket, key=key),
    )
    grant = swap_grant(task.tenant, task.assignments, people, task.mark, gateway.policy)
    call = execution.call(gateway.settings.segment_deadline_s, grant=grant)
    running = gateway.stages.swap_segment(request, call)
    has_begun = False
    try:
        with execution.halt.cancelling(running):
            for response in running:
                has_begun = True
                if response.WhichOneof("content") == "result":
                    result: faceswap_pb2.SegmentResult = response.result
                    return result
                progress.report(segment.number, response.progress.frames_done)
        detail = "The faceswap ended a segment without a result."
        raise LikenessError("STAGE_UNAVAILABLE", detail, retry_after_s=1.0)
    except (grpc.RpcError, LikenessError) as error:
        told = error if isinstance(error, LikenessError) else gateway.stages.error_of("faceswap", error)
        if progress.start_again(segment.number, counted=has_begun) >= gateway.settings.segment_attempts:
            raise BrokeOffTooOften(told) from error
        raise told from error


def film_figures(
    task: FilmTask,
    info: FilmInfo,
    results: Sequence[faceswap_pb2.SegmentResult],
    *,
    seconds: float,
    retries: int,
) -> dict[str, Any]:
    """What is told of a film: speed over the whole path, and how often whom was put in."""
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
        "retries": retries,
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
