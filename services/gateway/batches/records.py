"""The records of a batch: one job for the whole, and one for each item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.gateway.db import Job
from services.gateway.jobs import JobKind, QueueOptions, queue_job
from services.gateway.jobs.marks import draw_marks
from services.gateway.jobs.records import QUEUED
from services.gateway.jobs.starting import new_job

if TYPE_CHECKING:
    from services.gateway.context import Gateway

BLOCK: Final = 1000


@dataclass(frozen=True)
class BatchItem:
    """One request of a batch, as its queued job will have it."""

    custom_id: str
    kind: JobKind
    consent_id: str
    likeness_id: str
    parameters: dict[str, Any]
    target_media_id: str | None = None


@dataclass(frozen=True)
class Counts:
    """How many items there are, and how many have ended in which way; canceled ones count as failed."""

    total: int = 0
    completed: int = 0
    failed: int = 0


def queue_batch(
    gateway: Gateway,
    items: Sequence[BatchItem],
    *,
    tenant: str,
    request_id: str,
    parameters: dict[str, Any],
    input_media_id: str,
    options: QueueOptions,
) -> Job:
    """Adds a batch and all of its items in one transaction."""
    queue_name = gateway.queue.prepare(tenant)
    with gateway.database.session() as session:
        batch = queue_job(
            gateway.queue,
            session,
            queue_name,
            tenant=tenant,
            kind="batch",
            request_id=request_id,
            consent_id="",
            likeness_id="",
            parameters=parameters,
            deadline_s=gateway.settings.batch_deadline_s,
            target_media_id=input_media_id,
            options=options,
        )
        batch.progress = {"phase": "waiting", "done": 0, "total": len(items), "failed": 0}
        for first in range(0, len(items), BLOCK):
            block = items[first : first + BLOCK]
            jobs = [_item(batch, item, first + number) for number, item in enumerate(block)]
            draw_marks(session, jobs)
            session.add_all(jobs)
            session.flush()
    return batch


def _item(batch: Job, item: BatchItem, number: int) -> Job:
    return new_job(
        tenant=batch.tenant,
        kind=item.kind,
        state=QUEUED,
        request_id=batch.request_id,
        consent_id=item.consent_id,
        likeness_id=item.likeness_id,
        parameters=item.parameters,
        target_media_id=item.target_media_id,
        progress={"phase": "waiting"},
        deadline_at=batch.deadline_at,
        priority=batch.priority,
        attempt=1,
        batch_id=batch.id,
        batch_index=number,
        custom_id=item.custom_id,
    )


def count_items(session: Session, batch_ids: Iterable[str]) -> dict[str, Counts]:
    """How far batches are, by their ids."""
    ids = list(batch_ids)
    states: dict[str, dict[str, int]] = {batch_id: {} for batch_id in ids}
    query = select(Job.batch_id, Job.state, func.count()).where(Job.batch_id.in_(ids))
    for batch_id, state, count in session.execute(query.group_by(Job.batch_id, Job.state)):
        states[str(batch_id)][state] = count
    return {
        batch_id: Counts(
            total=sum(found.values()),
            completed=found.get("succeeded", 0),
            failed=found.get("failed", 0) + found.get("canceled", 0),
        )
        for batch_id, found in states.items()
    }
