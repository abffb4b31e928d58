"""The queue of a live stream: one frame waits at most, and a newer one takes its place."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.common.errors import LikenessError

MAX_DROPPED_UNTOLD: Final = 64
_POLL_S: Final = 0.1


@dataclass(frozen=True)
class LiveFrame:
    """A frame as it came: `arrived_s` on the monotonic clock; worth nothing after `deadline_s`, if there is one."""

    id: int
    encoded: bytes
    arrived_s: float
    deadline_s: float | None = None


class LatestQueue:
    """One thread brings frames with `submit`, another takes them with `next`.

    So the picture lags by at most one frame's work, however fast frames come. While the taker does not come, at most 64
    frames are dropped; then `submit` waits, and the transport's flow control slows the caller.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: LiveFrame | None = None
        self._dropped: deque[LiveFrame] = deque()
        self._last_id: int | None = None
        self._finished = self._closed = False
        self._failure: Exception | None = None

    def submit(self, frame: LiveFrame) -> bool:
        """Brings a frame. False once the taker has closed the queue.

        Raises:
            LikenessError: INVALID_FIELD when its id is not above the one before.
        """
        if self._last_id is not None and frame.id <= self._last_id:
            detail = f"Ids must ascend; {frame.id} came after {self._last_id}."
            raise LikenessError("INVALID_FIELD", detail, field="frame.id")
        self._last_id = frame.id
        with self._changed:
            self._changed.wait_for(lambda: len(self._dropped) < MAX_DROPPED_UNTOLD or self._closed)
            if self._closed:
                return False
            if self._waiting is not None:
                self._dropped.append(self._waiting)
            self._waiting = frame
            self._changed.notify_all()
            return True

    def finish(self, failure: Exception | None = None) -> None:
        """No more frames come. What waits is still handed out, or else `failure` is raised to the taker."""
        with self._changed:
            self._finished, self._failure = True, failure
            self._changed.notify_all()

    def close(self) -> None:
        """The taker wants no more."""
        with self._changed:
            self._closed = self._finished = True
            self._changed.notify_all()

    def next(self, idle_s: float, check: Callable[[], None]) -> tuple[list[LiveFrame], LiveFrame | None]:
        """Waits for a frame: those that were replaced since, and the one whose turn it is.

        Returns:
            Neither when no more will come.

        Raises:
            LikenessError: DEADLINE_EXCEEDED after `idle_s` seconds without a frame.
            Exception: what `check` raises, called ten times a second, and the failure that `finish` was given.
        """
        idle_until = self._clock() + idle_s
        with self._changed:
            while not (self._waiting or self._finished):
                check()
                if self._clock() >= idle_until:
                    raise LikenessError("DEADLINE_EXCEEDED", f"No frame came for {idle_s:g} seconds.")
                self._changed.wait(_POLL_S)
            if self._failure is not None:
                raise self._failure
            dropped, frame = list(self._dropped), self._waiting
            self._dropped.clear()
            self._waiting = None
            self._changed.notify_all()
            return dropped, frame
