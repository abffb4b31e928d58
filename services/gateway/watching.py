"""Waiting for jobs: their events as they are written, and their end. Each who waits occupies a thread of the server,
hence few may at the same time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from services.common.errors import LikenessError
from services.gateway.context import Gateway
from services.gateway.db import Job, JobEvent

POLL_S: Final = 0.4
FIRST_POLL_S: Final = 0.05
HEARTBEAT_S: Final = 15.0
RECONNECT_MS: Final = 1000
BLOCK: Final = 500  # events read at once
ENDED: Final = ("succeeded", "failed", "canceled")


class Place:
    """One of the few places of those who wait; given back once."""

    def __init__(self, gateway: Gateway) -> None:
        self._places = gateway.watcher_places
        self._taken = self._places.acquire(blocking=False)

    def __bool__(self) -> bool:
        return self._taken

    def give_back(self) -> None:
        if self._taken:
            self._taken = False
            self._places.release()


def take_place(gateway: Gateway) -> Place:
    """Raises LikenessError QUEUE_FULL, DRAINING."""
    if gateway.stopping.is_set():
        raise LikenessError("DRAINING", "The gateway is about to stop; ask again.", retry_after_s=1.0)
    place = Place(gateway)
    if not place:
        detail = "All places for those who watch jobs are taken. Ask for the job itself from time to time instead."
        raise LikenessError("QUEUE_FULL", detail, retry_after_s=5.0)
    return place


@contextmanager
def _place(gateway: Gateway) -> Iterator[bool]:
    place = Place(gateway)
    try:
        yield bool(place)
    finally:
        place.give_back()


def wait_for_end(gateway: Gateway, job_id: str, seconds: float) -> bool:
    """Whether the job ends within that time. Does not wait when all places are taken, or the gateway is to stop."""
    give_up_at = time.monotonic() + seconds
    pause_s = FIRST_POLL_S
    with _place(gateway) as may_wait:
        while True:
            with gateway.database.session() as session:
                state = session.scalar(select(Job.state).where(Job.id == job_id))
            left_s = give_up_at - time.monotonic()
            if state is None or state in ENDED:
                return state is not None
            if not may_wait or left_s <= 0 or gateway.stopping.wait(min(pause_s, left_s)):
                return False
            pause_s = min(POLL_S, pause_s * 1.3)


@dataclass(frozen=True)
class _Seen:
    """What one look at a job found: its events after the last one that was sent, and whether that is all."""

    events: list[JobEvent]
    state: str | None
    error: dict[str, Any] | None

    @property
    def is_all(self) -> bool:
        return len(self.events) < BLOCK


def job_events(gateway: Gateway, job_id: str, after: int) -> Iterator[bytes]:
    """Server-sent events of a job from the one after `after` until its end.

    `state` events hold what became of it, `progress` events how far it is; comments keep the connection alive. Ends
    early, without a word, when the gateway is to stop: who watches connects again and continues where it was.
    """
    yield f"retry: {RECONNECT_MS}\n\n".encode()
    told_end = False
    quiet_since = time.monotonic()
    while True:
        seen = _look(gateway, job_id, after)
        for event in seen.events:
            after = event.id
            told_end = event.kind == "state" and event.data.get("status") in ENDED
            yield _event(event.kind, event.data, event.id)
        if seen.events:
            quiet_since = time.monotonic()
        if seen.state is None:
            return
        if seen.state in ENDED and seen.is_all:
            if not told_end:  # it ended before there were events, or they were told in an earlier connection
                yield _event("state", {"status": seen.state, "error": seen.error}, None)
            return
        if time.monotonic() - quiet_since >= HEARTBEAT_S:
            quiet_since = time.monotonic()
            yield b": still here\n\n"
        if gateway.stopping.wait(POLL_S if seen.is_all else 0.0):
            return


def _look(gateway: Gateway, job_id: str, after: int) -> _Seen:
    """The state is read before the events, so that those of a job that has ended are all there."""
    with gateway.database.session() as session:
        row = session.execute(select(Job.state, Job.error).where(Job.id == job_id)).one_or_none()
    newer = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after).order_by(JobEvent.id).limit(BLOCK)
    with gateway.database.session() as session:
        events = list(session.scalars(newer))
    return _Seen(events, *(row or (None, None)))


def _event(kind: str, data: dict[str, Any], event_id: int | None) -> bytes:
    numbered = "" if event_id is None else f"id: {event_id}\n"
    return f"{numbered}event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
