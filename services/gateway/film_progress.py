"""How far a film is: frames done, how fast, and how long it may still take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal

Phase = Literal["waiting", "probing", "swapping", "joining"]
REPORT_S: Final = 0.5


class FilmProgress:
    """Counts over all segments; those of a segment begin again when it is tried again.

    Args:
        report: is given the progress as a JSON object at every change of phase, and at most every `REPORT_S` seconds.
        watch: is called at every tick.
    """

    def __init__(self, report: Callable[[dict[str, Any]], None], watch: Callable[[], None] = lambda: None) -> None:
        self._report = report
        self._watch = watch
        self._lock = threading.Lock()
        self._phase: Phase = "waiting"
        self._done: dict[int, int] = {}
        self._total = 0
        self._began_at = time.monotonic()
        self._reported_at = 0.0
        self.retries = 0

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

    def start_again(self, segment: int) -> None:
        with self._lock:
            self._done.pop(segment, None)
            self.retries += 1

    def tick(self) -> None:
        """Called again and again by the thread that leads the work."""
        self._watch()
        if time.monotonic() - self._reported_at >= REPORT_S:
            self._say()

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
