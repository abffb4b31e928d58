"""A film swap as a job: accepted while its caller waits, done in steps by a worker, published whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.common.film import CONTENT_TYPES, SegmentSpan
from services.common.film.probe import probe_film
from services.gateway.assignments import Assignment, AssignmentOrder, assign, for_stage, forget_references
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.db.models import utc_now
from services.gateway.film import (
    FilmOptions,
    FilmTask,
    Segment,
    film_figures,
    join,
    plan,
    probe,
    require_safe,
    swap_segment,
)
from services.gateway.film_progress import FilmProgress
from services.gateway.jobs import QueueOptions, queue_job
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import PLAIN
from services.gateway.jobs.results import publish_result, store_result
from services.gateway.jobs.steps import run_parallel, run_step
from services.gateway.media import publish_file, reference_to, withdraw
from services.gateway.observations import observe_film
from services.gateway.painting import Painting
from services.gateway.provenance import Ingredient
from services.gateway.provenance.gate import number_of, release, require_film_mark
from services.gateway.stages import fields_called
from services.gateway.swap import stage_fields


@dataclass(frozen=True)
class FilmOrder:
    """Whose faces onto which film: the path and content type of an upload, or media that are here already."""

    assignments: Sequence[AssignmentOrder]
    target: Path | None
    target_type: str
    target_media: Media | None
    painting: Painting
    options: FilmOptions


def queue_film_swap(
    gateway: Gateway, order: FilmOrder, *, tenant: str, request_id: str, options: QueueOptions = PLAIN
) -> Job:
    """Checks consents, film and options, keeps the film, and queues the job.

    Raises:
        LikenessError: QUEUE_FULL, NOT_FOUND, CONSENT_*, MEDIA_*, INVALID_FIELD.
    """
    queue_name = gateway.queue.admit(tenant, options)
    field = "target" if order.target_media is None else "target_media"
    assignments = assign(gateway, tenant, order.assignments)
    media = order.target_media
    try:
        if media is None:
            if order.target is None:
                raise ValueError("neither a file nor media")
            check_film(order.target, order.options, field)
            media = publish_file(
                gateway, order.target, tenant=tenant, content_type=order.target_type, purpose="swap_target"
            )
        else:
            with gateway.store.fetch(media.key) as path:
                check_film(path, order.options, field)
        with gateway.database.session() as session:
            return queue_job(
                gateway.queue,
                session,
                queue_name,
                tenant=tenant,
                kind="swap",
                request_id=request_id,
                consent_id=assignments[0].consents[0],
                likeness_id=assignments[0].face,
                target_media_id=media.id,
                parameters=film_parameters(assignments, order),
                deadline_s=gateway.settings.film_deadline_s,
                options=options,
            )
    except Exception:
        forget_references(gateway, tenant, assignments)
        if media is not None and order.target_media is None:
            withdraw(gateway, media)
        raise


def film_parameters(assignments: Sequence[Assignment], order: FilmOrder) -> dict[str, Any]:
    """What the job's record keeps of a request."""
    return {
        "assignments": [assignment.to_json() for assignment in assignments],
        "painting": order.painting.to_json(),
        "film": order.options.to_json(),
        "target_uploaded": order.target_media is None,
    }


def run_film_job(execution: Execution, job: Job) -> None:
    """The steps of a film: plan, segments in parallel, join, publish. Each looks at the consents first.

    Raises:
        LikenessError: what a step failed with, or the reason why the work was stopped.
    """
    gateway = execution.gateway
    task = execution.insist(partial(film_task, gateway, job), what="read")
    execution.check = partial(for_stage, gateway, job.tenant, task.assignments)
    progress = FilmProgress(execution.report)
    names = stage_fields(task.assignments, "target" if job.parameters["target_uploaded"] else "target_media")
    with fields_called(names):
        progress.enter("probing")
        planned = run_step(execution, "plan", partial(_plan, execution, task))
        segments = [
            Segment(item["number"], SegmentSpan(item["start_pts"], item["end_pts"]), item["frames"]) for item in planned
        ]
        progress.enter("swapping", frames_total=sum(segment.frames for segment in segments))
        results = run_parallel(
            execution,
            "segment",
            [partial(_segment, execution, task, segment, progress) for segment in segments],
            window=gateway.settings.film_parallel_segments,
            on_tick=progress.tick,
        )
        progress.enter("joining")
        joined = run_step(execution, "join", partial(_join, execution, task, job, segments, results, progress))
        publish = partial(publish_result, execution, joined["stored"], purpose="swap", figures=joined["figures"])
        published = run_step(execution, "publish", publish)
    if published:
        observe_film("succeeded", joined["figures"])


def film_task(gateway: Gateway, job: Job) -> FilmTask:
    """What the steps need to know, from the job's record. Raises LikenessError NOT_FOUND when the film was deleted."""
    with gateway.database.session() as session:
        film = find(session, Media, job.tenant, str(job.target_media_id), what="media", field="target_media")
    return FilmTask(
        job_id=job.id,
        tenant=job.tenant,
        film=reference_to(gateway, film),
        assignments=[Assignment.from_json(item) for item in job.parameters["assignments"]],
        painting=Painting.from_json(job.parameters["painting"]),
        options=FilmOptions.from_json(job.parameters["film"]),
        mark=job.mark,
    )


def _plan(execution: Execution, task: FilmTask) -> list[dict[str, int]]:
    execution.check()
    info = probe(execution.gateway, task.film)
    require_safe(execution.gateway, task.film)
    segments = plan(info, task.options, execution.gateway.settings.segment_seconds)
    return [{"number": item.number, **asdict(item.span), "frames": item.frames} for item in segments]


def _segment(execution: Execution, task: FilmTask, segment: Segment, progress: FilmProgress) -> dict[str, Any]:
    result: dict[str, Any] = json_format.MessageToDict(swap_segment(execution, task, segment, progress))
    return result


def _join(
    execution: Execution,
    task: FilmTask,
    job: Job,
    segments: Sequence[Segment],
    results: Sequence[dict[str, Any]],
    progress: FilmProgress,
) -> dict[str, Any]:
    execution.check()
    parsed = [json_format.ParseDict(item, faceswap_pb2.SegmentResult()) for item in results]
    progress.recall({segment.number: result.frames for segment, result in zip(segments, parsed, strict=True)})
    if not any(track.frames_swapped for result in parsed for track in result.tracks):
        detail = "No face of the film was chosen, so that nothing was replaced in it."
        raise LikenessError("FACE_NOT_FOUND", detail, field="target")
    gateway = execution.gateway
    info = probe(gateway, task.film)
    with tempfile.TemporaryDirectory(dir=execution.scratch_dir, prefix="film-") as scratch:
        out = Path(scratch) / f"film.{task.options.format}"
        join(gateway, task, info, segments, parsed, out)
        execution.halt.check()
        require_film_mark(out, gateway.keys.mark, number_of(job))
        content_type = CONTENT_TYPES[task.options.format]
        parent = Ingredient(task.film.sha256, task.film.content_type)
        released = release(gateway, job, out, content_type, "film", target=parent)
        stored = store_result(gateway, task.tenant, task.job_id, released, content_type)
    began_at = job.started_at or job.created_at
    seconds = max(1e-3, (utc_now() - began_at).total_seconds())
    return {"stored": stored, "figures": film_figures(task, info, parsed, seconds=seconds, retries=progress.retries)}


def check_film(path: Path, options: FilmOptions, field: str) -> None:
    """Raises what is wrong with the film, and with the options for it."""
    info = probe_film(path, field=field)
    plan(info, options, segment_seconds=1e9)
    with fields_called({"film_options.height_px": "height_px"}):
        info.output_size(options.height_px or 0)
