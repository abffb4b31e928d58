"""Dynamic batching: items of concurrent requests share one run of a model.

The first item waits at most `max_queue_delay_microseconds` for company. One thread runs the batches, in order of
arrival. An item whose deadline passes in the queue never reaches the model.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.common.errors import LikenessError
from services.common.metrics import batch_size as batch_size_metric

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Ticket(Generic[T, R]):
    item: T
    expires_s: float | None  # on the monotonic clock
    future: Future[R] = field(default_factory=Future)

    def expired(self) -> bool:
        return self.expires_s is not None and time.monotonic() >= self.expires_s


def _deadline_error() -> LikenessError:
    return LikenessError("DEADLINE_EXCEEDED", "The time allowed passed while waiting for the model.")


class DynamicBatcher(Generic[T, R]):
    """Collects items into batches for `run`, which returns one result per item, in order.

    When a batch fails, its items are run one by one, so that a bad item fails alone.
    """

    def __init__(
        self,
        run: Callable[[list[T]], list[R]],
        *,
        max_batch_size: int,
        max_queue_delay_microseconds: int,
        max_queue_size: int,
        name: str,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._delay_s = max_queue_delay_microseconds / 1e6
        self._max_queue_size = max_queue_size
        self._name = name
        self._queue: deque[_Ticket[T, R]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    def submit(self, item: T, deadline_s: float | None = None) -> R:
        """Runs one item and waits for its result, at most `deadline_s` seconds.

        Raises:
            LikenessError: QUEUE_FULL, DEADLINE_EXCEEDED, DRAINING once closed, or what `run` raised.
        """
        return self.submit_many([item], deadline_s)[0]

    def submit_many(self, items: Sequence[T], deadline_s: float | None = None) -> list[R]:
        """Like `submit`, for items that belong together: all are queued, or none when there is no room."""
        expires_s = None if deadline_s is None else time.monotonic() + deadline_s
        if deadline_s is not None and deadline_s <= 0:
            raise _deadline_error()
        tickets: list[_Ticket[T, R]] = [_Ticket(item, expires_s) for item in items]
        with self._changed:
            if self._closed:
                raise LikenessError("DRAINING", "The server is shutting down.", retry_after_s=1.0)
            if len(self._queue) + len(tickets) > self._max_queue_size:
                detail = f"{len(self._queue)} items are waiting for the {self._name} model; at most "
                raise LikenessError("QUEUE_FULL", f"{detail}{self._max_queue_size} may.", retry_after_s=1.0)
            self._queue.extend(tickets)
            self._changed.notify()
        try:
            return [self._result(ticket) for ticket in tickets]
        except BaseException:
            for ticket in tickets:
                ticket.future.cancel()
            raise

    def _result(self, ticket: _Ticket[T, R]) -> R:
        timeout_s = None if ticket.expires_s is None else max(0.0, ticket.expires_s - time.monotonic())
        try:
            return ticket.future.result(timeout_s)
        except FutureTimeout:
            if ticket.future.done():  # the model itself raised a TimeoutError
                raise
            raise _deadline_error() from None

    def close(self) -> None:
        """Finishes what is queued, then stops. Further items are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _take_batch(self) -> list[_Ticket[T, R]]:
        """Waits for work; an empty list means closed and nothing left."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            until_s = time.monotonic() + self._delay_s
            while len(self._queue) < self._max_batch_size and not self._closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    break
            count = min(self._max_batch_size, len(self._queue))
            return [self._queue.popleft() for _ in range(count)]

    def _work(self) -> None:
        while batch := self._take_batch():
            live = []
            for ticket in batch:
                if not ticket.future.set_running_or_notify_cancel():
                    continue
                if ticket.expired():
                    ticket.future.set_exception(_deadline_error())
                else:
                    live.append(ticket)
            if live:
                self._run_batch(live)

    def _run_batch(self, live: list[_Ticket[T, R]]) -> None:
        batch_size_metric.labels(stage=self._name).observe(len(live))
        try:
            results = self._run([ticket.item for ticket in live])
            if len(results) != len(live):
                raise RuntimeError(f"{self._name}: {len(live)} items gave {len(results)} results")
        except Exception as error:
            if len(live) == 1:
                live[0].future.set_exception(error)
                return
            _log.warning("a batch of %d failed, running its items one by one", len(live), exc_info=True)
            for ticket in live:
                self._run_batch([ticket])
            return
        for ticket, result in zip(live, results, strict=True):
            ticket.future.set_result(result)
