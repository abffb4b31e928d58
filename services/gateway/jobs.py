"""Job records: what was asked, how it ended, what it measured."""

from __future__ import annotations

from typing import Any, Final, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.db import Database, Job
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

JobKind = Literal["speech", "swap", "live"]
JobState = Literal["processing", "succeeded", "failed", "canceled"]
RUNNING: Final = "processing"


def start_job(
    session: Session,
    *,
    tenant: str,
    kind: JobKind,
    request_id: str,
    consent_id: str,
    likeness_id: str,
    parameters: dict[str, Any],
    target_media_id: str | None = None,
    in_background: bool = False,
) -> Job:
    """Adds the record of a job that begins now. Only one in the background has progress and can be cancelled."""
    job = Job(
        id=new_id("job"),
        tenant=tenant,
        created_at=utc_now(),
        kind=kind,
        state=RUNNING,
        request_id=request_id,
        consent_id=consent_id,
        likeness_id=likeness_id,
        target_media_id=target_media_id,
        parameters=parameters,
        figures={},
        progress={"phase": "waiting"} if in_background else None,
    )
    session.add(job)
    return job


def end_job(
    database: Database,
    job_id: str,
    state: JobState,
    *,
    figures: dict[str, Any],
    error: LikenessError | None = None,
    media_id: str | None = None,
    target_media_id: str | None = None,
) -> bool:
    """Writes how a running job ended. One that has ended keeps its first end; whether this was it."""
    told = None if error is None else {"reason": error.reason, "detail": error.detail, "field": error.field}
    with database.session() as session:
        result = session.execute(
            update(Job)
            .where(Job.id == job_id, Job.state == RUNNING)
            .values(
                state=state,
                finished_at=utc_now(),
                figures=figures,
                error=told,
                media_id=media_id,
                target_media_id=target_media_id,
            )
        )
    return bool(getattr(result, "rowcount", 0))


def report_progress(database: Database, job_id: str, progress: dict[str, Any]) -> bool:
    """Writes how far a job in the background is; whether it is still to go on."""
    with database.session() as session:
        result = session.execute(update(Job).where(Job.id == job_id, Job.state == RUNNING).values(progress=progress))
    return bool(getattr(result, "rowcount", 0))


def cancel_job(session: Session, job: Job) -> None:
    """Cancels a job in the background: from now on it is canceled, and whoever works on it finds that out.

    One that has ended stays as it is.

    Raises:
        LikenessError: NOT_CANCELABLE for work that somebody is waiting for.
    """
    if job.state != RUNNING:
        return
    if job.progress is None:
        detail = f"{job.id} is answered while its caller waits; close that connection to end it."
        raise LikenessError("NOT_CANCELABLE", detail)
    error = {"reason": "CANCELLED", "detail": "Cancelled on request.", "field": None}
    session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == RUNNING)
        .values(state="canceled", finished_at=utc_now(), error=error)
    )
    session.refresh(job)


def fail_orphans(database: Database) -> int:
    """Fails jobs that an earlier process left running. Only right where no other process works on them."""
    error = {"reason": "CANCELLED", "detail": "The gateway stopped while it worked on this.", "field": None}
    with database.session() as session:
        result = session.execute(
            update(Job).where(Job.state == RUNNING).values(state="failed", finished_at=utc_now(), error=error)
        )
    return int(getattr(result, "rowcount", 0))
