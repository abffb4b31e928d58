"""Job records: what was asked, how it goes, how it ended.

A record has one life: queued -> processing -> succeeded | failed | canceled; work whose caller waits begins as
`processing`. Every change is a compare-and-set on the state, in one transaction with the event that tells of it, so
that of all who end a job one succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, cast

from sqlalchemy import Table, bindparam, insert, or_, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.auditing import Entry, append_entries_in, entry_of_end
from services.gateway.db import Database, Job, JobEvent
from services.gateway.db.models import utc_now
from services.gateway.jobs.job_metrics import observe_end
from services.gateway.jobs.marks import note_release
from services.gateway.webhooks.outbox import enqueue_webhook

JobKind = Literal["speech", "swap", "live", "batch"]
JobState = Literal["queued", "processing", "succeeded", "failed", "canceled"]
EventKind = Literal["state", "progress"]
QUEUED: Final = "queued"
RUNNING: Final = "processing"
WHAT_IS_SAID: Final = ("input", "dictionary")  # of the parameters of a queued speech
UNFINISHED: Final = (QUEUED, RUNNING)
# Reasons for which work is called off rather than failed.
CALLED_OFF: Final = frozenset(("CANCELLED", "CONSENT_REQUIRED", "CONSENT_NOT_LIVE"))


@dataclass(frozen=True)
class QueueOptions:
    """How a job waits, beyond what it is about.

    Attributes:
        priority: lower is earlier among the jobs of a tenant, -1000 to 1000.
        deadline_at: when it has failed unless it has ended; None: after the time that settings give its kind.
        webhook_url: who is told when it ends.
        batch_id, batch_index, custom_id: of an item of a batch, which is done with the batch and not enqueued.
    """

    priority: int = 0
    deadline_at: datetime | None = None
    webhook_url: str | None = None
    batch_id: str | None = None
    batch_index: int | None = None
    custom_id: str | None = None


PLAIN: Final = QueueOptions()
# Made once, and without the unit of work: both cost more than the rows.
_JOBS: Final = cast(Table, Job.__table__)
_INSERT_EVENT: Final = insert(cast(Table, JobEvent.__table__))
_UNENDED: Final = or_(*(_JOBS.c.state == state for state in UNFINISHED))
_OF_END: Final = (
    "id", "tenant", "kind", "state", "request_id", "consent_id", "media_id", "figures", "mark", "webhook_url",
)  # fmt: skip
_END: Final = (
    update(_JOBS).where(_JOBS.c.id == bindparam("ending_job"), _UNENDED).returning(*(_JOBS.c[name] for name in _OF_END))
)
_END_OF_WORKFLOW: Final = _END.where(_JOBS.c.workflow_id == bindparam("ending_workflow"))


def begin_job(session: Session, job_id: str, *, workflow_id: str | None, owner: str) -> bool:
    """Marks a queued job as being worked on, or one whose worker vanished as another's; False when it has ended."""
    mine = (Job.workflow_id == workflow_id,) if workflow_id is not None else ()
    was_waiting = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == QUEUED, *mine)
        .values(state=RUNNING, started_at=utc_now(), owner=owner)
    )
    if _changed(was_waiting):
        add_event(session, job_id, "state", {"status": RUNNING})
        return True
    goes_on = update(Job).where(Job.id == job_id, Job.state == RUNNING, *mine).values(owner=owner)
    return _changed(session.execute(goes_on))


def end_job(
    database: Database,
    job_id: str,
    state: JobState,
    *,
    figures: dict[str, Any],
    error: LikenessError | None = None,
    media_id: str | None = None,
    target_media_id: str | None = None,
    sha256: str | None = None,
    entries: Sequence[Entry] = (),
) -> bool:
    """Writes how a job ended. One that has ended keeps its first end; whether this was it.

    Args:
        sha256: of the file that is released.
        entries: of the audit, for what is true when this is its end.
    """
    targets = {"media_id": media_id, "target_media_id": target_media_id}
    with database.session() as session:
        return end_job_in(
            session, job_id, state, figures=figures, error=error, sha256=sha256, entries=entries, **targets
        )


def end_job_in(
    session: Session,
    job_id: str,
    state: JobState,
    *,
    figures: dict[str, Any],
    error: LikenessError | None = None,
    workflow_id: str | None = None,
    sha256: str | None = None,
    entries: Sequence[Entry] = (),
    **values: Any,
) -> bool:
    """The same in the caller's transaction, to be committed together with what it says.

    Of a batch that does not succeed, the items that have not ended are canceled.

    Args:
        workflow_id: the end counts only while this execution is the job's.
        sha256: of the file that is released.
        values: further columns of the record.
    """
    session.flush()
    values |= {"state": state, "finished_at": utc_now(), "figures": figures, "error": describe_error(error)}
    whose = {"ending_job": job_id} if workflow_id is None else {"ending_job": job_id, "ending_workflow": workflow_id}
    ending = _END if workflow_id is None else _END_OF_WORKFLOW
    row = session.connection().execute(ending, whose | values).one_or_none()
    if row is None:
        return False
    job = Job(**row._mapping)
    add_event(session, job_id, "state", {"status": state, "error": describe_error(error)})
    if sha256 is not None:
        note_release(session, job_id, sha256=sha256, media_id=job.media_id)
    if state != "succeeded":
        session.execute(  # of a batch: what it has not come to is not done
            update(Job)
            .where(Job.batch_id == job_id, Job.state.in_(UNFINISHED))
            .values(state="canceled", finished_at=utc_now(), error=describe_error(error))
            .execution_options(synchronize_session=False)
        )
    _refresh(session, job_id)
    observe_end(job)
    if job.webhook_url is not None:
        enqueue_webhook(session, session.get_one(Job, job_id))
    end = entry_of_end(job, error, sha256)
    append_entries_in(session.connection(), entries if end is None else [end, *entries])
    return True


def _refresh(session: Session, job_id: str) -> None:
    """Has the session see what was written past it, where it knows the job already."""
    known = session.identity_map.get(session.identity_key(Job, job_id))
    if known is not None:
        session.refresh(known)


def describe_error(error: LikenessError | None) -> dict[str, Any] | None:
    return None if error is None else {"reason": error.reason, "detail": error.detail, "field": error.field}


def add_event(session: Session, job_id: str, kind: EventKind, data: dict[str, Any]) -> None:
    """Tells those who watch a job of a change, which is in the same transaction."""
    session.execute(_INSERT_EVENT, {"job_id": job_id, "created_at": utc_now(), "kind": kind, "data": data})


def report_progress(database: Database, job_id: str, progress: dict[str, Any], *, tell: bool = False) -> bool:
    """Writes how far a job is; whether it is still to go on.

    Args:
        tell: those who watch it, too; not more than about once a second.
    """
    with database.session() as session:
        result = session.execute(update(Job).where(Job.id == job_id, Job.state == RUNNING).values(progress=progress))
        goes_on = _changed(result)
        if goes_on and tell:
            add_event(session, job_id, "progress", progress)
    return goes_on


def without_what_is_said(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a queued speech once its text is needed no more."""
    return {name: value for name, value in parameters.items() if name not in WHAT_IS_SAID}


def cancel_job(session: Session, job: Job) -> None:
    """Cancels a job in the background: from now on it is canceled, and whoever works on it finds that out.

    Whoever works on it stops within a second. The items of a batch that have not ended are cancelled with it. What has
    ended stays as it is.

    Raises:
        LikenessError: NOT_CANCELABLE for work that somebody is waiting for.
    """
    if job.state not in UNFINISHED:
        return
    if job.state == RUNNING and job.progress is None:
        detail = f"{job.id} is answered while its caller waits; close that connection to end it."
        raise LikenessError("NOT_CANCELABLE", detail)
    cancel_in(session, job.id)
    session.refresh(job)


def cancel_in(session: Session, job_id: str) -> None:
    """Cancels a job and, of a batch, its items."""
    end_job_in(session, job_id, "canceled", figures={}, error=LikenessError("CANCELLED", "Cancelled on request."))


def fail_orphans(database: Database) -> int:
    """Fails jobs that an earlier process left while somebody waited for them. Only right where no other process answers
    requests; queued work goes on."""
    error = {"reason": "CANCELLED", "detail": "The gateway stopped while it worked on this.", "field": None}
    with database.session() as session:
        result = session.execute(
            update(Job)
            .where(Job.state == RUNNING, Job.workflow_id.is_(None), Job.batch_id.is_(None))
            .values(state="failed", finished_at=utc_now(), error=error)
        )
    return int(getattr(result, "rowcount", 0))


def later(moment: datetime | None, seconds: float) -> datetime:
    return (moment or utc_now()) + timedelta(seconds=seconds)


def _changed(result: object) -> bool:
    return bool(getattr(result, "rowcount", 0))
