"""Job records: what was asked, how it ended, what it measured."""

from __future__ import annotations

from typing import Any, Final, Literal

from sqlalchemy import update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.db import Database, Job
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

JobKind = Literal["speech", "swap"]
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
) -> Job:
    """Adds the record of a job that begins now."""
    job = Job(
        id=new_id("job"),
        tenant=tenant,
        created_at=utc_now(),
        kind=kind,
        state=RUNNING,
        request_id=request_id,
        consent_id=consent_id,
        likeness_id=likeness_id,
        parameters=parameters,
        figures={},
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
) -> None:
    """Writes how a running job ended. One that has ended keeps its first end."""
    told = None if error is None else {"reason": error.reason, "detail": error.detail, "field": error.field}
    with database.session() as session:
        session.execute(
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


def fail_orphans(database: Database) -> int:
    """Fails jobs that an earlier process left running. Only right where no other process works on them."""
    error = {"reason": "CANCELLED", "detail": "The gateway stopped while it worked on this.", "field": None}
    with database.session() as session:
        result = session.execute(
            update(Job).where(Job.state == RUNNING).values(state="failed", finished_at=utc_now(), error=error)
        )
    return int(getattr(result, "rowcount", 0))
