"""The thread of a worker that stops what must not go on: cancelled jobs, deadlines that have passed, consents that are
not live any more."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.db import Job
from services.gateway.halting import HandedOver
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import UNFINISHED

LOOK_S: Final = 0.4
# After these the check will say yes again: nothing is wrong with the job.
_PASSING: Final = frozenset(("STORE_UNAVAILABLE", "DATABASE_UNAVAILABLE"))
_log: Final = logging.getLogger(__name__)


class Watch:
    """The executions of one worker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._executions: dict[int, Execution] = {}
        self._stopping = threading.Event()
        self._handed_over: HandedOver | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=5)

    def hand_over(self, why: str) -> None:
        """Stops all work here, now and from now on, without writing anything."""
        with self._lock:
            self._handed_over = HandedOver(why)
            executions = list(self._executions.values())
        for execution in executions:
            execution.halt.stop(self._handed_over)

    @contextmanager
    def watching(self, execution: Execution) -> Iterator[None]:
        """Stops the execution, when it must be, during the block."""
        with self._lock:
            self._executions[id(execution)] = execution
            handed_over = self._handed_over
        if handed_over is not None:
            execution.halt.stop(handed_over)
        try:
            yield
        finally:
            with self._lock:
                del self._executions[id(execution)]

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with self._lock:
                executions = list(self._executions.values())
            if not executions:
                continue
            try:
                self._look(executions)
            except SQLAlchemyError as error:
                _log.warning("the state of running jobs cannot be read: %s", error)
            except Exception:
                _log.exception("watching failed")

    def _look(self, executions: list[Execution]) -> None:
        with self._gateway.database.session() as session:
            ids = {execution.job_id for execution in executions}
            rows = session.execute(select(Job.id, Job.state, Job.workflow_id).where(Job.id.in_(ids))).all()
        found = {row.id: row for row in rows}
        for execution in executions:
            row = found.get(execution.job_id)
            if row is None or row.state not in UNFINISHED or row.workflow_id != execution.workflow_id:
                execution.halt.stop(LikenessError("CANCELLED", "The job has been ended."))
            elif time.monotonic() > execution.expires_at:
                execution.halt.stop(LikenessError("DEADLINE_EXCEEDED", "The time allowed for this job has passed."))
            elif time.monotonic() - execution.checked_at >= self._gateway.settings.consent_interval_s:
                execution.checked_at = time.monotonic()
                self._check(execution)

    @staticmethod
    def _check(execution: Execution) -> None:
        try:
            execution.check()
        except LikenessError as error:
            if error.reason not in _PASSING:
                execution.halt.stop(error)
