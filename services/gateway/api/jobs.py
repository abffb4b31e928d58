"""/v1/jobs: how a piece of work went and what it measured."""

from __future__ import annotations

from typing import Any, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement

from services.common.errors import LikenessError
from services.gateway.accounts import needs
from services.gateway.api.fields import (
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import fails_with
from services.gateway.db import Job, find, get_page
from services.gateway.jobs import JobKind, JobState, cancel_job

bp = APIBlueprint("jobs", __name__, url_prefix="/v1/jobs", tag="Jobs")


class JobError(BaseModel):
    """Why a job failed or was cancelled."""

    reason: str
    detail: str
    field: str | None


class Progress(BaseModel):
    """How far work in the background is; null where nothing is known yet."""

    phase: Literal["waiting", "probing", "swapping", "joining"]
    frames_done: int = 0
    frames_total: int | None = None
    frames_per_second: float | None = None
    seconds_left: float | None = None


class JobOut(BaseModel):
    """The record of a job."""

    id: str
    object: Literal["job"]
    kind: JobKind
    status: JobState
    progress: Progress | None = Field(description="Of work in the background.")
    created_at: int
    finished_at: int | None
    request_id: str
    consent: str
    likeness: str = Field(description="Id of the voice or face.")
    target_media: str | None
    media: str | None = Field(description="Id of the result, where it was kept.")
    parameters: dict[str, Any]
    figures: dict[str, Any] = Field(description="What was measured; for speech see the response headers.")
    error: JobError | None


def show_job(job: Job) -> JobOut:
    return JobOut.model_validate(
        {
            "id": job.id,
            "object": "job",
            "kind": job.kind,
            "status": job.state,
            "progress": job.progress,
            "created_at": unix_seconds(job.created_at),
            "finished_at": None if job.finished_at is None else unix_seconds(job.finished_at),
            "request_id": job.request_id,
            "consent": job.consent_id,
            "likeness": job.likeness_id,
            "target_media": job.target_media_id,
            "media": job.media_id,
            "parameters": job.parameters,
            "figures": job.figures,
            "error": job.error,
        }
    )


def cancel_record(job_id: str, *conditions: ColumnElement[bool], what: str) -> Job:
    """Cancels the job, wherever it is worked on: its record says so at once, this process's threads are told."""
    gateway = current_gateway()
    with gateway.database.session() as session:
        job = find(session, Job, current_tenant(), job_id, *conditions, what=what)
        cancel_job(session, job)
    gateway.background.stop(job_id, LikenessError("CANCELLED", "Cancelled on request."))
    return job


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[JobOut])
@bp.doc(summary="List jobs", operation_id="list_jobs")
@needs("read", "jobs")
def list_jobs(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Job, current_tenant(), after=page.after, limit=page.limit)
        return page_out(found, show_job)


@bp.get("/<job_id>")
@bp.output(JobOut)
@bp.doc(
    summary="Get a job",
    description="A streamed speech is `processing` until a moment after its last byte, when its figures are final.",
    operation_id="get_job",
)
@fails_with("NOT_FOUND")
@needs("read", "jobs")
def get_job(job_id: str) -> JobOut:
    with current_gateway().database.session() as session:
        return show_job(find(session, Job, current_tenant(), job_id, what="job"))


@bp.post("/<job_id>/cancel")
@bp.output(JobOut)
@bp.doc(
    summary="Cancel a job",
    description="Only work in the background can be cancelled: that which has `progress`. One that has ended stays as "
    "it is.",
    operation_id="cancel_job",
)
@fails_with("NOT_FOUND", "NOT_CANCELABLE")
@needs("jobs")
def cancel_one(job_id: str) -> JobOut:
    return show_job(cancel_record(job_id, what="job"))
