"""One job in a worker while it is worked on: until when, how it is stopped, and how its steps hold out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from prometheus_client import Counter
from sqlalchemy.exc import InterfaceError, OperationalError

from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.halting import Halt
from services.gateway.stages import Call

T = TypeVar("T")
FIRST_BACKOFF_S: Final = 0.25
MAX_BACKOFF_S: Final = 5.0
# What another replica, or the same one in a moment, may do better.
WAITED_FOR: Final = frozenset(
    ("STAGE_UNAVAILABLE", "DRAINING", "MODEL_LOADING", "QUEUE_FULL", "DEADLINE_EXCEEDED", "STORE_UNAVAILABLE")
)
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
        workflow_id: of this attempt at the job; None for an item of a batch.
        expires_at: the job's deadline, on the monotonic clock.
        check: raises LikenessError when the work may not go on; called every few seconds while it does.
    """

    gateway: Gateway
    job_id: str
    tenant: str
    request_id: str
    workflow_id: str | None
    expires_at: float
    halt: Halt = field(default_factory=Halt)
    check: Callable[[], object] = lambda: None
    checked_at: float = field(default_factory=time.monotonic)
    retries: int = 0

    def call(self, limit_s: float | None = None) -> Call:
        """For calls of stages until the deadline, or until the limit of one attempt."""
        expires_at = self.expires_at
        if limit_s is not None:
            expires_at = min(expires_at, time.monotonic() + limit_s)
        return Call(self.request_id, expires_at)

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
            except (OperationalError, InterfaceError) as error:
                self.halt.check()
                if time.monotonic() >= self.expires_at:
                    raise LikenessError("DATABASE_UNAVAILABLE", "The database cannot be reached.") from error
                reason, detail = "DATABASE_UNAVAILABLE", str(error.orig)
            self.retries += 1
            step_retries_total.labels(reason=reason).inc()
            _log.warning("%s of %s is tried again in %.2g s: %s", what, self.job_id, backoff_s, detail)
            self.halt.wait(max(0.0, min(backoff_s, self.expires_at - time.monotonic())))
            backoff_s = min(MAX_BACKOFF_S, 2 * backoff_s)
