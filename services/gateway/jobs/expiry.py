"""The sweeper: fails jobs that waited beyond their deadline, and deletes what is kept long enough."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from dbos import DBOS
from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from services.common.errors import LikenessError
from services.gateway.auditing import chain_unchained
from services.gateway.auditing.kept_anchors import keep_anchor
from services.gateway.context import Gateway
from services.gateway.db import Job
from services.gateway.db.models import utc_now
from services.gateway.idempotency_records import sweep_idempotency
from services.gateway.jobs.leftovers import forget_quietly, give_up_retry
from services.gateway.jobs.records import QUEUED, UNFINISHED, end_job_in
from services.gateway.sweeping import sweep_jobs, sweep_media, sweep_uploads

AT_ONCE: Final = 200
HISTORY_KEPT_S: Final = 600.0  # of steps, after the end of their job
_log: Final = logging.getLogger(__name__)


def sweep(gateway: Gateway) -> None:
    """One round; each part a bounded number of things. Several workers may do it at the same time."""
    parts = (_fail_late, _give_up_retries, _forget_stray_work, _forget_history, _chain_audit)
    for part in (*parts, sweep_jobs, sweep_media, sweep_uploads, sweep_idempotency, keep_anchor):
        try:
            part(gateway)
        except (SQLAlchemyError, LikenessError) as error:
            _log.warning("sweeping: %s: %s", part.__name__, error)


def _fail_late(gateway: Gateway) -> None:
    """Jobs that no worker took up before their deadline. Those that are worked on their worker stops."""
    why = LikenessError("DEADLINE_EXCEEDED", "The time allowed for this job has passed while it waited.")
    with gateway.database.session() as session:
        late = select(Job.id).where(Job.state == QUEUED, Job.batch_id.is_(None), Job.deadline_at < utc_now())
        ids = list(session.scalars(late.limit(AT_ONCE)))
    for job_id in ids:
        with gateway.database.session() as session:
            end_job_in(session, job_id, "failed", figures={}, error=why)


def _give_up_retries(gateway: Gateway) -> None:
    limit = utc_now() - timedelta(seconds=gateway.settings.failed_job_ttl_s)
    with gateway.database.session() as session:
        spent = select(Job).where(
            Job.state.in_(("failed", "canceled")),
            Job.finished_at < limit,
            or_(Job.workflow_id.is_not(None), Job.batch_id.is_not(None) & Job.target_media_id.is_not(None)),
        )
        jobs = list(session.scalars(spent.limit(AT_ONCE)))
    for job in jobs:
        give_up_retry(gateway, job)


def _forget_stray_work(gateway: Gateway) -> None:
    """Objects of jobs that have ended well, or are not there any more: their worker was killed before it cleared."""
    seen: set[tuple[str, str]] = set()
    for stored in gateway.store.keys("work/"):
        parts = stored.key.split("/")
        if len(parts) > 3 and parts[2].startswith("job_"):
            seen.add((parts[1], parts[2]))
        if len(seen) >= AT_ONCE:
            break
    if not seen:
        return
    with gateway.database.session() as session:
        found: dict[str, Any] = {
            row.id: row
            for row in session.execute(
                select(Job.id, Job.state, Job.workflow_id, Job.batch_id).where(Job.id.in_([job for _, job in seen]))
            )
        }
    for tenant, job_id in seen:
        row = found.get(job_id)
        keeps = row is not None and (
            row.state in UNFINISHED or (row.state in ("failed", "canceled") and (row.workflow_id or row.batch_id))
        )
        if not keeps:
            forget_quietly(gateway, tenant, job_id)


def _chain_audit(gateway: Gateway) -> None:
    """Entries of gateways of an older version, which know of no chain."""
    chain_unchained(gateway.database)


def _forget_history(gateway: Gateway) -> None:
    """The queue's record of steps of jobs that have ended."""
    before = (utc_now() - timedelta(seconds=HISTORY_KEPT_S)).isoformat()
    ended = DBOS.list_workflows(
        status=["SUCCESS", "ERROR", "CANCELLED"],
        completed_before=before,
        limit=AT_ONCE,
        load_input=False,
        load_output=False,
    )
    if ended:
        DBOS.delete_workflows([found.workflow_id for found in ended])
