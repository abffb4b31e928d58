"""The queue: DBOS's tables in the gateway's own database, so that a job and its place in the queue commit together.

A tenant's jobs are a partition of a queue. How many of them run at the same time is a property of the queue, hence
tenants with a number of their own have a queue of their own: `jobs-4` for all whose number is four.
"""

from __future__ import annotations

from typing import Any, Final

from dbos import DBOSClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.db import Database, Job, Tenant
from services.gateway.db.models import utc_now
from services.gateway.jobs.marks import draw_marks
from services.gateway.jobs.records import PLAIN, QUEUED, JobKind, QueueOptions, add_event, later
from services.gateway.jobs.serializer import JsonSerializer
from services.gateway.jobs.starting import new_job
from services.gateway.settings import GatewaySettings

APPLICATION: Final = "likeness"
# Of the workflows in `workflows`: a worker takes up only jobs of its own version. To be raised when their steps change
# in a way that one begun by the old code could not be gone on with.
WORKFLOW_VERSION: Final = "1"
WORKFLOW_NAME: Final = "job"
MAX_PRIORITY: Final = 1000
_PRIORITY_SHIFT: Final = MAX_PRIORITY + 1  # the library's begin at 1


class JobQueue:
    """The queue as one process sees it; `prepare_tables` has been called."""

    def __init__(self, settings: GatewaySettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._known: set[str] = set()
        self.client = DBOSClient(
            system_database_engine=database.engine,
            serializer=JsonSerializer(),
            application_name=APPLICATION,
            lazy=True,
            retry_connection_errors=False,
        )

    def prepare(self, tenant: str) -> str:
        """Name of the tenant's queue, which exists then. Not to be called within a transaction that has written."""
        with self._database.session() as session:
            limits = session.scalar(select(Tenant.limits).where(Tenant.id == tenant)) or {}
        return self._prepare(int(limits.get("parallel_jobs") or self._settings.tenant_parallel_jobs))

    def admit(self, tenant: str, options: QueueOptions) -> str:
        """The tenant's queue for a new job. Items of a batch were given their places with the batch.

        Raises:
            LikenessError: QUEUE_FULL.
        """
        name = self.prepare(tenant)
        if options.batch_id is None:
            self.require_room()
        return name

    def prepare_default(self) -> str:
        """The queue of tenants without a number of their own; for a worker, which finds it when it looks for queues."""
        return self._prepare(self._settings.tenant_parallel_jobs)

    def _prepare(self, concurrency: int) -> str:
        name = f"jobs-{concurrency}"
        if name not in self._known:
            self.client.register_queue(
                name,
                partition_concurrency=concurrency,
                worker_concurrency=self._settings.worker_jobs,
                polling_interval_sec=self._settings.queue_poll_s,
                on_conflict="always_update",
            )
            self._known.add(name)
        return name

    def require_room(self) -> None:
        """Raises LikenessError QUEUE_FULL when no further job is taken; to be asked before anything is stored."""
        with self._database.session() as session:
            waiting = session.scalar(
                select(func.count()).select_from(Job).where(Job.state == QUEUED, Job.batch_id.is_(None))
            )
        if (waiting or 0) >= self._settings.job_queue_size:
            detail = f"{waiting} jobs are waiting already. Try again later."
            raise LikenessError("QUEUE_FULL", detail, retry_after_s=30.0)

    def put(self, session: Session, job: Job, queue_name: str) -> None:
        """Enqueues the job's workflow in the caller's transaction, under the id that its record has."""
        self.client.enqueue_in_transaction(
            session,
            {
                "workflow_name": WORKFLOW_NAME,
                "queue_name": queue_name,
                "workflow_id": str(job.workflow_id),
                "app_version": WORKFLOW_VERSION,
                "queue_partition_key": job.tenant,
                "priority": min(MAX_PRIORITY, max(-MAX_PRIORITY, job.priority)) + _PRIORITY_SHIFT,
            },
            job.id,
            str(job.workflow_id),
        )

    def close(self) -> None:
        self.client.destroy()


def queue_job(
    queue: JobQueue,
    session: Session,
    queue_name: str,
    *,
    tenant: str,
    kind: JobKind,
    request_id: str,
    consent_id: str,
    likeness_id: str,
    parameters: dict[str, Any],
    deadline_s: float,
    target_media_id: str | None = None,
    options: QueueOptions = PLAIN,
) -> Job:
    """Adds a job that a worker will do, and its place in the queue: both are there once the transaction commits.

    An item of a batch gets no place of its own: the batch's worker runs it.

    Args:
        queue_name: from `JobQueue.prepare`.
        deadline_s: from now, where the options name no deadline.
    """
    job = new_job(
        tenant=tenant,
        kind=kind,
        state=QUEUED,
        request_id=request_id,
        consent_id=consent_id,
        likeness_id=likeness_id,
        parameters=parameters,
        target_media_id=target_media_id,
        progress={"phase": "waiting"},
        deadline_at=options.deadline_at or later(None, deadline_s),
        priority=options.priority,
        webhook_url=options.webhook_url,
        batch_id=options.batch_id,
        batch_index=options.batch_index,
        custom_id=options.custom_id,
    )
    job.attempt = 1
    if options.batch_id is None:
        job.workflow_id = f"{job.id}-1"
    if kind != "batch":
        draw_marks(session, [job])
    session.add(job)
    session.flush()
    if options.batch_id is None:
        add_event(session, job.id, "state", {"status": QUEUED})
        queue.put(session, job, queue_name)
    return job


def retry_job(queue: JobQueue, session: Session, job: Job, queue_name: str) -> None:
    """Queues a job that failed or was canceled once more. What it had finished is used again.

    Of a batch, the items that did not succeed are done again. The deadline is as far away as it was at first.

    Raises:
        LikenessError: NOT_RETRYABLE for a job in another state, for work that was not queued, and for an item.
    """
    if job.state not in ("failed", "canceled") or job.workflow_id is None:
        what = f"is {job.state}" if job.workflow_id is not None else "was not queued"
        detail = f"{job.id} {what}; what can be retried is a queued job that failed or was canceled."
        raise LikenessError("NOT_RETRYABLE", detail)
    span_s = 0.0 if job.deadline_at is None else (job.deadline_at - job.created_at).total_seconds()
    waiting: dict[str, Any] = {"state": QUEUED, "finished_at": None, "started_at": None, "error": None, "owner": None}
    waiting |= {"progress": {"phase": "waiting"}, "expires_at": None}
    waiting |= {"deadline_at": later(None, span_s) if span_s else None, "attempt": job.attempt + 1}
    moved = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == job.state, Job.attempt == job.attempt)
        .values(**waiting, workflow_id=f"{job.id}-{job.attempt + 1}")
    )
    if not getattr(moved, "rowcount", 0):
        raise LikenessError("NOT_RETRYABLE", f"{job.id} has been retried by somebody else at the same time.")
    session.execute(
        update(Job)
        .where(Job.batch_id == job.id, Job.state.in_(("failed", "canceled")))
        .values(**{name: value for name, value in waiting.items() if name != "attempt"}, attempt=Job.attempt + 1)
    )
    add_event(session, job.id, "state", {"status": QUEUED, "attempt": job.attempt + 1})
    session.flush()
    session.refresh(job)
    queue.put(session, job, queue_name)


def seconds_left(job: Job) -> float:
    """Until the job's deadline; negative when that has passed."""
    if job.deadline_at is None:
        return 365 * 86400.0
    return (job.deadline_at - utc_now()).total_seconds()
