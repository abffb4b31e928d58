"""The worker of this process, for the workflows, which get nothing but ids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.context import Gateway
from services.gateway.jobs.watching import Watch


@dataclass(frozen=True)
class WorkerContext:
    """What all jobs of a worker share. `give_back` puts a workflow that runs here into the queue again."""

    id: str
    gateway: Gateway
    watch: Watch
    give_back: Callable[[str], None]


_current: WorkerContext | None = None


def set_worker(worker: WorkerContext | None) -> None:
    global _current
    _current = worker


def current_worker() -> WorkerContext:
    if _current is None:
        raise RuntimeError("no worker runs in this process")
    return _current
