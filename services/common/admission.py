"""Who may start, who waits, who is turned away: a bounded queue in front of a stage's model."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from services.common.deadlines import Deadline
from services.common.errors import LikenessError
from services.common.metrics import StageMetrics

_POLL_S: Final = 0.1  # how soon a waiting request notices that its caller has gone


class Admission:
    """Lets `max_concurrency` requests run and `max_queue_size` more wait, first come first served."""

    def __init__(self, *, max_concurrency: int, max_queue_size: int, metrics: StageMetrics) -> None:
        self._max_concurrency = max_concurrency
        self._max_queue_size = max_queue_size
        self._metrics = metrics
        self._changed = threading.Condition()
        self._running = 0
        self._waiting: deque[object] = deque()

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @contextmanager
    def slot(self, deadline: Deadline, is_active: Callable[[], bool]) -> Iterator[None]:
        """Holds a slot within the block, after waiting for one.

        Raises:
            LikenessError: QUEUE_FULL, DEADLINE_EXCEEDED before or while waiting, or CANCELLED by the caller.
        """
        self._enter(deadline, is_active)
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
                self._report()

    def _enter(self, deadline: Deadline, is_active: Callable[[], bool]) -> None:
        deadline.check()
        ticket = object()
        with self._changed:
            if self._running >= self._max_concurrency and len(self._waiting) >= self._max_queue_size:
                detail = f"{self._running} requests are being worked on and {len(self._waiting)} wait; try again later."
                raise LikenessError("QUEUE_FULL", detail, retry_after_s=1.0)
            self._waiting.append(ticket)
            self._report()
            try:
                while self._running >= self._max_concurrency or self._waiting[0] is not ticket:
                    self._changed.wait(min(_POLL_S, max(0.0, deadline.remaining_s())))
                    deadline.check()
                    if not is_active():
                        raise deadline.why_it_ended("The caller went away while the request was waiting.")
                self._running += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
                self._report()

    def _report(self) -> None:
        self._metrics.queue_depth.set(len(self._waiting))
        self._metrics.inflight.set(self._running)
