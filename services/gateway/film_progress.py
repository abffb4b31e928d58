"""How far a film is: frames done, how fast, and how long it may still take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

Phase = Literal["waiting", "probing", "swapping", "joining"]
REPORT_S: Final = 0.5


class FilmProgress:
    """Counts over all segments; those of a segment begin again when it is tried again.

    Args:
        report: is given the progress as a JSON object at every change of phase, and at most every `REPORT_S` seconds.
    """

    def __init__(self, report: Callable[[dict[str, Any]], None]) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._phase: Phase = "waiting"
        self._done: dict[int, int] = {}
        self._total = 0
        self._began_at = time.monotonic()
        self._reported_at = 0.0
        self._broke_off: dict[int, int] = {}

    def enter(self, phase: Phase, *, frames_total: int | None = None) -> None:
        with self._lock:
            self._phase = phase
            if frames_total is not None:
                self._total = frames_total
                self._began_at = time.monotonic()
        self._say()

    def report(self, segment: int, frames_done: int) -> None:
        with self._lock:
            self._done[segment] = frames_done

    def recall(self, done: Mapping[int, int]) -> None:
        """Frames of segments that were done before, maybe by another worker."""
        with self._lock:
            self._done.update(done)

    def start_again(self, segment: int, *, counted: bool = True) -> int:
        """A segment is tried again; how often it has broken off. Not counted when it had not begun."""
        with self._lock:
            self._done.pop(segment, None)
            self._broke_off[segment] = self._broke_off.get(segment, 0) + counted
            return self._broke_off[segment]

    def tick(self) -> None:
        """Called again and again by the thread that leads the work."""
        if time.monotonic() - self._reported_at >= REPORT_S:
            self._say()

    @property
    def retries(self) -> int:
        """How often segments have broken off."""
        with self._lock:
            return sum(self._broke_off.values())

    def snapshot(self) -> dict[str, Any]:
        """`frames_per_second` and `seconds_left` are null until something is done."""
        with self._lock:
            done = sum(self._done.values())
            total = max(self._total, done)
            elapsed_s = time.monotonic() - self._began_at
            rate = done / elapsed_s if done and elapsed_s > 0 else None
            return {
                "phase": self._phase,
                "frames_done": done,
                "frames_total": total,
                "frames_per_second": None if rate is None else round(rate, 2),
                "seconds_left": None if not rate else round((total - done) / rate, 1),
            }

    def _say(self) -> None:
        self._reported_at = time.monotonic()
        self._report(self.snapshot())
