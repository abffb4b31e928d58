"""New records of jobs: of work that begins now, while somebody waits for it, and of what will wait in the queue."""

from __future__ import annotations

from typing import Any, Final, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from services.common.tracing import traceparent_var
from services.gateway.db import Job
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.jobs.marks import draw_marks
from services.gateway.jobs.records import PLAIN, RUNNING, JobKind, JobState, QueueOptions, add_event

_TABLE: Final = cast(Table, Job.__table__)
_INSERT: Final = insert(_TABLE)  # the unit of work costs more than the row


def new_job(
    *,
    tenant: str,
    kind: JobKind,
    state: JobState,
    request_id: str,
    consent_id: str,
    likeness_id: str,
    parameters: dict[str, Any],
    **more: Any,
) -> Job:
    """A record that is not in the database yet."""
    return Job(
        id=new_id("job"),
        tenant=tenant,
        created_at=utc_now(),
        kind=kind,
        state=state,
        request_id=request_id,
        consent_id=consent_id,
        likeness_id=likeness_id,
        parameters=parameters,
        figures={},
        traceparent=traceparent_var.get() or None,
        **more,
    )


def running_job(
    *,
    tenant: str,
    kind: JobKind,
    request_id: str,
    consent_id: str,
    likeness_id: str,
    parameters: dict[str, Any],
    target_media_id: str | None = None,
    owner: str | None = None,
    in_background: bool = False,
    options: QueueOptions = PLAIN,
) -> Job:
    """The record, not in the database yet, of work that begins now, in this process, while somebody waits for it.

    Args:
        owner: id of the process; when that vanishes, the job is failed.
        options: of which deadline and webhook count here.
        in_background: whether it has progress, and can be cancelled (a live swap).
    """
    return new_job(
        tenant=tenant,
        kind=kind,
        state=RUNNING,
        request_id=request_id,
        consent_id=consent_id,
        likeness_id=likeness_id,
        parameters=parameters,
        target_media_id=target_media_id,
        owner=owner,
        started_at=utc_now(),
        progress={"phase": "waiting"} if in_background else None,
        deadline_at=options.deadline_at,
        webhook_url=options.webhook_url,
    )


def start_job(session: Session, **job: Any) -> Job:
    """Adds the record of work that begins now, with a number for its mark.

    Args:
        job: as of `running_job`.
    """
    started = running_job(**job)
    draw_marks(session, [started])
    add_running(session, started)
    return started


def add_running(session: Session, job: Job) -> None:
    """Adds a `running_job` that has the number of its mark."""
    columns = {name: value for name, value in vars(job).items() if name in _TABLE.c}
    session.connection().execute(_INSERT, columns)
    add_event(session, job.id, "state", {"status": RUNNING})
