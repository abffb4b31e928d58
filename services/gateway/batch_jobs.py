"""A batch as a job: its items are jobs without a place of their own in the queue, done a few at a time as steps of the
batch. An item that fails does not fail the batch."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from services.common.errors import LikenessError
from services.common.logs import request_id_var
from services.gateway.batches import CONTENT_TYPE, write_results
from services.gateway.db import Job
from services.gateway.db.models import utc_now
from services.gateway.jobs.execution import DATABASE_AWAY, Execution
from services.gateway.jobs.queue import seconds_left
from services.gateway.jobs.records import UNFINISHED, begin_job
from services.gateway.jobs.results import publish_result, store_result
from services.gateway.jobs.steps import run_parallel, run_step

RunItem = Callable[[Execution, Job], None]
_log: Final = logging.getLogger(__name__)


def run_batch_job(execution: Execution, job: Job, run_item: RunItem) -> None:
    """The steps of a batch: its items in parallel, then the file of results, then publish.

    Args:
        run_item: does a speech or a swap and publishes it, as its kind alone does; raises LikenessError.

    Raises:
        LikenessError: the reason why the whole batch was stopped.
    """
    gateway = execution.gateway
    ids = execution.insist(partial(_item_ids, execution, job), what="read")
    progress = _BatchProgress(execution, len(ids))
    states = run_parallel(
        execution,
        "item",
        [partial(_item, execution, item_id, run_item, progress) for item_id in ids],
        window=gateway.settings.batch_parallel_items,
        on_tick=progress.tick,
    )
    _log.info("batch %s: %d items, %d of them failed", job.id, len(ids), len(ids) - states.count("succeeded"))
    execution.report(progress.now("writing"))
    written = run_step(execution, "results", partial(_results, execution, job))
    publish = partial(publish_result, execution, written["stored"], purpose="batch_result", figures=written["figures"])
    run_step(execution, "publish", publish)


def _item_ids(execution: Execution, job: Job) -> list[str]:
    with execution.gateway.database.session() as session:
        return list(session.scalars(select(Job.id).where(Job.batch_id == job.id).order_by(Job.batch_index)))


def _item(execution: Execution, item_id: str, run_item: RunItem, progress: _BatchProgress) -> str:
    """Does one item, unless it has ended already; how it ended."""
    gateway = execution.gateway
    with gateway.database.session() as session:
        item = session.get(Job, item_id)
        if item is None:
            return "canceled"
        if item.state in UNFINISHED and begin_job(session, item_id, workflow_id=None, owner=execution.owner):
            session.refresh(item)
    if item.state not in UNFINISHED:
        progress.ended(item.state)
        return item.state
    part = Execution(
        gateway=gateway,
        watch=execution.watch,
        owner=execution.owner,
        job_id=item.id,
        tenant=item.tenant,
        request_id=item.request_id,
        workflow_id=None,
        expires_at=min(execution.expires_at, time.monotonic() + seconds_left(item)),
    )
    request_id_var.set(item.request_id)
    with execution.halt.including(part.halt), part.watch.watching(part):
        state = _run_to_end(part, item, run_item)
    execution.halt.check()
    progress.ended(state)
    return state


def _run_to_end(part: Execution, item: Job, run_item: RunItem) -> str:
    try:
        run_item(part, item)
    except LikenessError as error:
        part.fail(error)
    except DATABASE_AWAY:  # the item is begun again
        raise
    except Exception as error:
        _log.exception("item %s failed unexpectedly", item.id)
        part.fail(LikenessError("INTERNAL", repr(error)))
    with part.gateway.database.session() as session:
        return str(session.scalar(select(Job.state).where(Job.id == item.id)))


def _results(execution: Execution, job: Job) -> dict[str, Any]:
    gateway = execution.gateway
    with tempfile.TemporaryDirectory(dir=execution.scratch_dir, prefix="batch-") as scratch:
        out = Path(scratch) / "results.jsonl"
        figures = write_results(gateway, job.id, out)
        stored = store_result(gateway, job.tenant, job.id, out, CONTENT_TYPE)
    figures["seconds"] = round((utc_now() - (job.started_at or job.created_at)).total_seconds(), 3)
    return {"stored": stored, "figures": figures}


class _BatchProgress:
    """Counts items as they end."""

    def __init__(self, execution: Execution, total: int) -> None:
        self._execution = execution
        self._total = total
        self._lock = threading.Lock()
        self._done = 0
        self._failed = 0
        self._began_at = self._said_at = time.monotonic()

    def ended(self, state: str) -> None:
        with self._lock:
            self._done += 1
            self._failed += state != "succeeded"

    def tick(self) -> None:
        if time.monotonic() - self._said_at >= 1.0:
            self._said_at = time.monotonic()
            self._execution.report(self.now("running"))

    def now(self, phase: str) -> dict[str, Any]:
        """`rate` is of items per second since this worker began; null until something is done."""
        with self._lock:
            elapsed_s = time.monotonic() - self._began_at
            rate = self._done / elapsed_s if self._done and elapsed_s > 0 else None
            return {
                "phase": phase,
                "done": self._done,
                "total": self._total,
                "failed": self._failed,
                "rate": None if rate is None else round(rate, 2),
                "seconds_left": None if not rate else round((self._total - self._done) / rate, 1),
            }
