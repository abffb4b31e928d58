"""/v1/jobs: what is queued, how far work is, how it went and what it measured."""

from __future__ import annotations

from typing import Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response
from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.accounts import needs
from services.gateway.api.fields import (
    Deleted,
    Identifier,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    inline_schema,
    page_out,
)
from services.gateway.api.job_views import JobOut, show_job
from services.gateway.api.manifests import MANIFEST_RESPONSES, manifest_response
from services.gateway.api.reasons import fails_with
from services.gateway.api.word_times import WordTime
from services.gateway.db import Job, find, get_page
from services.gateway.deletion import delete_job
from services.gateway.downloads import file_response
from services.gateway.jobs import JobKind, JobState, cancel_job, retry_job
from services.gateway.timestamps import find_words

bp = APIBlueprint("jobs", __name__, url_prefix="/v1/jobs", tag="Jobs")


class Timestamps(BaseModel):
    """When the words of a speech are spoken."""

    object: Literal["audio.timestamps"]
    job: str
    duration: float = Field(description="Seconds.")
    words: list[WordTime]


_TIMESTAMPS: Final[Any] = {
    200: {
        "description": "The words in order",
        "content": {"application/json": {"schema": inline_schema(Timestamps)}},
    }
}


class JobQuery(PageQuery):
    """Which jobs."""

    status: JobState | None = Field(None, description="Only those.")
    kind: JobKind | None = Field(None, description="Only those.")
    batch: Identifier | None = Field(None, description="The items of this batch, which are not listed otherwise.")


def cancel_record(job_id: str, *conditions: ColumnElement[bool], what: str) -> Job:
    """Cancels the job, wherever it is worked on: its record says so at once, and who works on it finds that out."""
    with current_gateway().database.session() as session:
        job = find(session, Job, current_tenant(), job_id, *conditions, what=what)
        cancel_job(session, job)
    return job


def queue_position(session: Session, job: Job) -> int | None:
    """Which of the tenant's queued jobs it is, from 1; None for one that is not queued by itself."""
    if job.state != "queued" or job.batch_id is not None:
        return None
    earlier = or_(Job.priority < job.priority, (Job.priority == job.priority) & (Job.id < job.id))
    before = select(func.count()).where(
        Job.tenant == job.tenant, Job.state == "queued", Job.batch_id.is_(None), earlier
    )
    return 1 + (session.scalar(before) or 0)


@bp.get("")
@needs("read", "jobs")
@bp.input(JobQuery, location="query", arg_name="wanted")
@bp.output(PageOut[JobOut])
@bp.doc(summary="List jobs", operation_id="list_jobs")
def list_jobs(wanted: JobQuery) -> dict[str, Any]:
    conditions: list[ColumnElement[bool]] = [
        Job.batch_id.is_(None) if wanted.batch is None else Job.batch_id == wanted.batch
    ]
    if wanted.status is not None:
        conditions.append(Job.state == wanted.status)
    if wanted.kind is not None:
        conditions.append(Job.kind == wanted.kind)
    with current_gateway().database.session() as session:
        found = get_page(session, Job, current_tenant(), *conditions, after=wanted.after, limit=wanted.limit)
        return page_out(found, show_job)


@bp.get("/<job_id>")
@needs("read", "jobs")
@bp.output(JobOut)
@bp.doc(
    summary="Get a job",
    description="With its progress and, while it is queued, its position. A streamed speech is `processing` until a "
    "moment after its last byte, when its figures are final.",
    operation_id="get_job",
)
@fails_with("NOT_FOUND")
def get_job(job_id: str) -> JobOut:
    with current_gateway().database.session() as session:
        job = find(session, Job, current_tenant(), job_id, what="job")
        return show_job(job, queue_position(session, job))


@bp.get("/<job_id>/manifest")
@needs("read", "jobs")
@bp.doc(
    summary="Get the manifest beside a job's output",
    description="The signed C2PA manifest of an output whose container has no place for one, or that was streamed: "
    "then it is there a moment after the last byte. Other outputs carry theirs inside.",
    operation_id="get_job_manifest",
    responses=MANIFEST_RESPONSES,
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def get_job_manifest(job_id: str) -> Response:
    with current_gateway().database.session() as session:
        job = find(session, Job, current_tenant(), job_id, what="job")
    return manifest_response(job.id, job.id)


@bp.get("/<job_id>/timestamps")
@needs("read", "jobs")
@bp.doc(
    summary="Get the times of the words of a job's speech",
    description="Of a speech that was ordered with `timestamps` and is kept, once it has succeeded.",
    operation_id="get_job_timestamps",
    responses=_TIMESTAMPS,
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def get_job_timestamps(job_id: str) -> Response:
    gateway, tenant = current_gateway(), current_tenant()
    with gateway.database.session() as session:
        job = find(session, Job, tenant, job_id, what="job")
        words = find_words(session, tenant, job.id) if job.state == "succeeded" else None
    if words is None:
        detail = (
            f"There are no timestamps of {job.id}: a speech has them that was ordered with timestamps, and is kept."
        )
        raise LikenessError("NOT_FOUND", detail)
    return file_response(gateway, words, disposition="inline")


@bp.delete("/<job_id>")
@needs("jobs")
@bp.output(Deleted)
@bp.doc(
    summary="Delete a job",
    description="Its record and events, its result, and what was uploaded for it alone; of a batch, its items as well. "
    "One that has not ended must be cancelled first.",
    operation_id="delete_job",
)
@fails_with("NOT_FOUND", "IN_USE", "STORE_UNAVAILABLE")
def delete_one(job_id: str) -> Deleted:
    delete_job(current_gateway(), current_tenant(), job_id)
    return Deleted(id=job_id, object="job")


@bp.post("/<job_id>/cancel")
@needs("jobs")
@bp.output(JobOut)
@bp.doc(
    summary="Cancel a job",
    description="Stops the work of the stages within a second. Only work in the background can be cancelled: that "
    "which has `progress`. Of a batch, all items that have not ended are cancelled. What has ended stays as it is.",
    operation_id="cancel_job",
)
@fails_with("NOT_FOUND", "NOT_CANCELABLE")
def cancel_one(job_id: str) -> JobOut:
    return show_job(cancel_record(job_id, what="job"))


@bp.post("/<job_id>/retry")
@needs("jobs")
@bp.output(JobOut)
@bp.doc(
    summary="Retry a job",
    description="Queues a job that failed or was canceled once more. What it had finished is used again: of a film "
    "the segments, of a batch the items that succeeded.",
    operation_id="retry_job",
)
@fails_with("NOT_FOUND", "NOT_RETRYABLE", "QUEUE_FULL")
def retry_one(job_id: str) -> JobOut:
    gateway, tenant = current_gateway(), current_tenant()
    queue_name = gateway.queue.prepare(tenant)
    with gateway.database.session() as session:
        job = find(session, Job, tenant, job_id, what="job")
        retry_job(gateway.queue, session, job, queue_name)
        return show_job(job, queue_position(session, job))
