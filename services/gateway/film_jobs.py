"""A film swap as a job: accepted while its caller waits, worked on in the background, ended in one way or another."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from services.common.errors import LikenessError
from services.common.film.probe import probe_film
from services.gateway.assignments import Assignment, AssignmentOrder, assign, for_stage, forget_references
from services.gateway.background import Reservation
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.film import FilmOptions, FilmTask, plan, swap_film
from services.gateway.film_progress import FilmProgress
from services.gateway.halting import Halt
from services.gateway.jobs import JobState, end_job, report_progress, start_job
from services.gateway.media import publish_file, reference_to, withdraw
from services.gateway.painting import Painting
from services.gateway.stages import Call, fields_called
from services.gateway.swap import stage_fields
from services.gateway.telemetry import observe_film

# Reasons for which work is called off rather than failed.
_CALLED_OFF: Final = frozenset(("CANCELLED", "CONSENT_REQUIRED", "CONSENT_NOT_LIVE"))
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmOrder:
    """Whose faces onto which film: the path and content type of an upload, or the id of media that are here already."""

    assignments: Sequence[AssignmentOrder]
    target: Path | None
    target_type: str
    target_media: Media | None
    painting: Painting
    options: FilmOptions


def start_film_swap(gateway: Gateway, order: FilmOrder, place: Reservation, *, tenant: str, request_id: str) -> Job:
    """Checks consents, film and options, keeps the film, and returns the job, which goes on in the background.

    Raises:
        LikenessError: NOT_FOUND, CONSENT_*, MEDIA_*, INVALID_FIELD.
    """
    field = "target" if order.target_media is None else "target_media"
    assignments = assign(gateway, tenant, order.assignments)
    media = order.target_media
    try:
        if media is None:
            if order.target is None:
                raise ValueError("neither a file nor media")
            _check(order.target, order.options, field)
            media = publish_file(
                gateway, order.target, tenant=tenant, content_type=order.target_type, purpose="swap_target"
            )
        else:
            with gateway.store.fetch(media.key) as path:
                _check(path, order.options, field)
        with gateway.database.session() as session:
            job = start_job(
                session,
                tenant=tenant,
                kind="swap",
                request_id=request_id,
                consent_id=assignments[0].consents[0],
                likeness_id=assignments[0].face,
                target_media_id=media.id,
                parameters={
                    "assignments": [assignment.to_json() for assignment in assignments],
                    "painting": order.painting.to_json(),
                    "film": order.options.to_json(),
                    "target_uploaded": order.target_media is None,
                },
                in_background=True,
            )
    except Exception:
        forget_references(gateway, tenant, assignments)
        if media is not None and order.target_media is None:
            withdraw(gateway, media)
        raise
    names = stage_fields(order.assignments, field)
    place.submit(job.id, request_id, lambda halt: run_film_job(gateway, job.id, tenant, halt, names))
    return job


def run_film_job(gateway: Gateway, job_id: str, tenant: str, halt: Halt, names: dict[str, str] | None = None) -> None:
    """Works on the film of a job's record until it has ended in one way or another, and writes how.

    Args:
        names: what the stage's fields are called in the request.
    """
    with gateway.database.session() as session:
        job = find(session, Job, tenant, job_id, what="job")
        film = find(session, Media, tenant, str(job.target_media_id), what="media")
    assignments = [Assignment.from_json(item) for item in job.parameters["assignments"]]
    task = FilmTask(
        job_id=job.id,
        tenant=tenant,
        film=reference_to(gateway, film),
        assignments=assignments,
        painting=Painting.from_json(job.parameters["painting"]),
        options=FilmOptions.from_json(job.parameters["film"]),
    )
    age_s = time.time() - job.created_at.timestamp()
    call = Call.within(gateway.settings.film_deadline_s - age_s, job.request_id)
    progress = _watched(gateway, task, halt)
    media: Media | None = None
    figures: dict[str, Any] = {}
    error: LikenessError | None = None
    state: JobState = "succeeded"
    try:
        with fields_called(names or {}):
            halt.check()
            swapped = swap_film(gateway, task, call, halt, progress)
        media, figures = swapped.media, swapped.figures
    except LikenessError as failure:
        error, state = failure, "canceled" if failure.reason in _CALLED_OFF else "failed"
    except Exception:
        _log.exception("job %s failed unexpectedly", job_id)
        error, state = LikenessError("INTERNAL", f"An unexpected failure; the log has it under job {job_id}."), "failed"
    uploaded = bool(job.parameters["target_uploaded"])
    forget_references(gateway, tenant, assignments)
    if uploaded and state != "succeeded":
        _forget_target(gateway, job_id, film)
    ended = end_job(
        gateway.database,
        job_id,
        state,
        figures=figures,
        error=error,
        media_id=None if media is None else media.id,
        target_media_id=film.id if state == "succeeded" or not uploaded else None,
    )
    if media is not None and not ended:  # cancelled at the last moment
        withdraw(gateway, media)
        if uploaded:
            _forget_target(gateway, job_id, film)
    observe_film(state if ended else "canceled", figures)
    _log.info("film job %s: %s", job_id, state)


def _watched(gateway: Gateway, task: FilmTask, halt: Halt) -> FilmProgress:
    """Progress that is written to the job's record, and stops the work when the job was cancelled, or a consent is
    not live any more."""
    last_look = time.monotonic()

    def report(progress: dict[str, Any]) -> None:
        if not report_progress(gateway.database, task.job_id, progress):
            halt.stop(LikenessError("CANCELLED", "The job has been ended."))

    def watch() -> None:
        nonlocal last_look
        if time.monotonic() - last_look < gateway.settings.consent_interval_s:
            return
        last_look = time.monotonic()
        try:
            for_stage(gateway, task.tenant, task.assignments)
        except LikenessError as error:
            halt.stop(error)

    return FilmProgress(report, watch)


def _check(path: Path, options: FilmOptions, field: str) -> None:
    """Raises what is wrong with the film, and with the options for it."""
    info = probe_film(path, field=field)
    plan(info, options, segment_seconds=1e9)
    with fields_called({"film_options.height_px": "height_px"}):
        info.output_size(options.height_px or 0)


def forget_unfinished(gateway: Gateway) -> None:
    """Deletes what films have left that were worked on when the gateway was killed: uploads, references, segments."""
    with gateway.database.session() as session:
        unfinished = select(Job).where(Job.kind == "swap", Job.state != "succeeded", Job.target_media_id.is_not(None))
        jobs = [job for job in session.scalars(unfinished) if job.parameters.get("target_uploaded")]
    for job in jobs:
        assignments = [Assignment.from_json(item) for item in job.parameters["assignments"]]
        forget_references(gateway, job.tenant, assignments)
        with gateway.database.session() as session:
            film = session.get(Media, job.target_media_id)
        if film is not None:
            _forget_target(gateway, job.id, film)
    for stored in gateway.store.list("work/job_"):
        gateway.store.delete(stored.key)


def _forget_target(gateway: Gateway, job_id: str, film: Media) -> None:
    """Deletes an upload of which nothing was made."""
    with gateway.database.session() as session:
        job = session.get(Job, job_id)
        if job is not None:
            job.target_media_id = None
    withdraw(gateway, film)
