"""How long something takes on a machine that does other things, too."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_s(work: Callable[[], object], runs: int) -> float:
    """The least processor time of this thread over so many runs, in seconds, after one that does not count."""
    work()
    least = float("inf")
    for _ in range(runs):
        began_s = time.thread_time()
        work()
        least = min(least, time.thread_time() - began_s)
    return least
