"""One job in a worker while it is worked on: until when, how it is stopped, and how its steps hold out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from prometheus_client import Counter
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.common.errors import LikenessError
from services.common.grants import Grant
from services.common.tracing import traceparent_var
from services.gateway.context import Gateway
from services.gateway.halting import Halt, HandedOver
from services.gateway.jobs.records import CALLED_OFF, JobState, end_job_in, report_progress
from services.gateway.stages import Call

if TYPE_CHECKING:
    from services.gateway.jobs.watching import Watch

T = TypeVar("T")
FIRST_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 5.0
TELL_S: Final = 2.0
# What another replica, or the same one in a moment, may do better.
WAITED_FOR: Final = frozenset(
    (
        "STAGE_UNAVAILABLE",
        "DRAINING",
        "MODEL_LOADING",
        "QUEUE_FULL",
        "DEADLINE_EXCEEDED",
        "STORE_UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
    )
)
DATABASE_AWAY: Final = (OperationalError, InterfaceError, PoolTimeout)
step_retries_total: Final = Counter("likeness_job_step_retries", "Steps tried again, by the reason", ["reason"])
_log: Final = logging.getLogger(__name__)


class BrokeOffTooOften(Exception):
    """An attempt that is the last, though its reason is one that is waited for."""

    def __init__(self, error: LikenessError) -> None:
        super().__init__(error.detail)
        self.error = error


@dataclass
class Execution:
    """What the steps of a job have in common.

    Attributes:
        watch: stops the work when it must be.
        owner: id of the worker.
        workflow_id: of this attempt at the job; None for an item of a batch.
        expires_at: the job's deadline, on the monotonic clock.
        trace: of which its calls are part; a W3C traceparent.
        check: raises LikenessError when the work may not go on; called every few seconds while it does.
    """

    gateway: Gateway
    watch: Watch
    owner: str
    job_id: str
    tenant: str
    request_id: str
    workflow_id: str | None
    expires_at: float
    trace: str = field(default_factory=traceparent_var.get)
    halt: Halt = field(default_factory=Halt)
    check: Callable[[], object] = lambda: None
    checked_at: float = field(default_factory=time.monotonic)
    retries: int = 0
    told_at: float = 0.0
    told_phase: str = ""

    def call(self, limit_s: float | None = None, *, grant: Grant | None = None) -> Call:
        """For calls of stages until the deadline, or until the limit of one attempt."""
        expires_at = self.expires_at
        if limit_s is not None:
            expires_at = min(expires_at, time.monotonic() + limit_s)
        return Call(self.request_id, expires_at, self.trace, grant)

    def report(self, progress: dict[str, Any]) -> None:
        """Writes how far the job is, and tells those who watch it at most every `TELL_S` seconds, or of a new phase.

        What cannot be written now is written with the next report.
        """
        tell = progress["phase"] != self.told_phase or time.monotonic() - self.told_at >= TELL_S
        try:
            goes_on = report_progress(self.gateway.database, self.job_id, progress, tell=tell)
        except DATABASE_AWAY as error:
            _log.warning("progress of %s is not written: %s", self.job_id, error)
            return
        if not goes_on:
            self.halt.stop(LikenessError("CANCELLED", "The job has been ended."))
        if tell:
            self.told_at, self.told_phase = time.monotonic(), str(progress["phase"])

    @property
    def scratch_dir(self) -> Path:
        """A folder of this worker's own, for files in the making; emptied when it starts."""
        folder = self.gateway.settings.spool_dir / f"worker-{self.owner}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def fail(self, error: LikenessError) -> None:
        """Ends the job, unless it has ended: canceled when it was called off, else failed."""
        state: JobState = "canceled" if error.reason in CALLED_OFF else "failed"

        def end() -> None:
            with self.gateway.database.session() as session:
                end_job_in(session, self.job_id, state, figures={}, error=error, workflow_id=self.workflow_id)

        self.insist_on_end(end)

    def insist_on_end(self, work: Callable[[], T]) -> T:
        """What `work` returns, however long the database is away: the end of a job is written in any case.

        Raises:
            HandedOver: the work is another's by now.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            why = self.halt.why
            if isinstance(why, HandedOver):
                raise HandedOver(*why.args)
            try:
                return work()
            except DATABASE_AWAY as error:
                _log.warning("the end of %s is written in %.2g s: %s", self.job_id, backoff_s, error)
            time.sleep(backoff_s)
            backoff_s = min(MAX_BACKOFF_S, 2 * backoff_s)

    def insist(self, work: Callable[[], T], *, what: str) -> T:
        """What `work` returns, tried again while stages, store or database are away or full, until the deadline.

        Raises:
            LikenessError: what it failed with otherwise, or why the work is stopped.
        """
        backoff_s = FIRST_BACKOFF_S
        while True:
            self.halt.check()
            try:
                return work()
            except BrokeOffTooOften as last:
                raise last.error from last
            except LikenessError as error:
                self.halt.check()
                if error.reason not in WAITED_FOR or time.monotonic() >= self.expires_at:
                    raise
                reason, detail = error.reason, error.detail
            except DATABASE_AWAY as error:
                self.halt.check()
                if time.monotonic() >= self.expires_at:
                    raise LikenessError("DATABASE_UNAVAILABLE", "The database cannot be reached.") from error
                reason, detail = "DATABASE_UNAVAILABLE", str(error)
            self.retries += 1
            step_retries_total.labels(reason=reason).inc()
            _log.warning("%s of %s is tried again in %.2g s: %s", what, self.job_id, backoff_s, detail)
            self.halt.wait(max(0.0, min(backoff_s, self.expires_at - time.monotonic())))
            backoff_s = min(MAX_BACKOFF_S, 2 * backoff_s)
