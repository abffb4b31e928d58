"""Work that goes on after its request was answered: a few threads, a bounded queue, and a way to stop each piece."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.common.errors import LikenessError
from services.common.logs import request_id_var
from services.gateway.halting import Halt

JOIN_S: Final = 5.0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """One job's work; it writes itself how it ended, and does not raise."""

    job_id: str
    request_id: str
    run: Callable[[Halt], None]
    halt: Halt = field(default_factory=Halt)


class Background:
    """Threads of one process, started when the first work comes, hence after the fork."""

    def __init__(self, workers: int, queue_size: int) -> None:
        self._workers = workers
        self._limit = workers + queue_size
        self._waiting: deque[Work] = deque()
        self._accepted: dict[str, Work] = {}  # waiting and running, by job
        self._reserved = 0
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._closing: LikenessError | None = None

    def reserve(self) -> Reservation:
        """A place for one piece of work, before anything is done for it.

        Raises:
            LikenessError: QUEUE_FULL, DRAINING.
        """
        with self._changed:
            if self._closing is not None:
                raise LikenessError("DRAINING", self._closing.detail, retry_after_s=5.0)
            if len(self._accepted) + self._reserved >= self._limit:
                detail = f"{len(self._accepted)} jobs are running or waiting already. Try again later."
                raise LikenessError("QUEUE_FULL", detail, retry_after_s=30.0)
            self._reserved += 1
        return Reservation(self)

    def stop(self, job_id: str, why: LikenessError) -> None:
        """Stops a job's work if it is this process that has it."""
        with self._changed:
            work = self._accepted.get(job_id)
        if work is not None:
            work.halt.stop(why)

    def close(self, why: LikenessError) -> list[str]:
        """Takes no more, stops everything, and waits a moment; the jobs that were not finished."""
        with self._changed:
            self._closing = why
            unfinished = list(self._accepted.values())
            threads = list(self._threads)
            self._changed.notify_all()
        for work in unfinished:
            work.halt.stop(why)
        for thread in threads:
            thread.join(JOIN_S)
        return [work.job_id for work in unfinished]

    def _release(self) -> None:
        with self._changed:
            self._reserved -= 1

    def _accept(self, work: Work) -> None:
        with self._changed:
            self._reserved -= 1
            self._accepted[work.job_id] = work
            self._waiting.append(work)
            if len(self._threads) < min(self._workers, len(self._accepted)):
                thread = threading.Thread(target=self._serve, name=f"background-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and self._closing is None:
                    self._changed.wait()
                if not self._waiting:
                    return
                work = self._waiting.popleft()
            request_id_var.set(work.request_id)
            try:
                work.run(work.halt)
            except Exception:
                _log.exception("job %s broke", work.job_id)
            finally:
                with self._changed:
                    self._accepted.pop(work.job_id, None)


class Reservation:
    """A place in the queue: used once, or given back at the end of the block."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._used = False

    def submit(self, job_id: str, request_id: str, run: Callable[[Halt], None]) -> None:
        self._used = True
        self._background._accept(Work(job_id, request_id, run))

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._used:
            self._background._release()
