"""How a process waits for the signal that ends it."""

from __future__ import annotations

import signal
import threading
from typing import Final

LOOK_S: Final = 0.25


def stop_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on. To be called, and waited for, in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def wait_until(stop: threading.Event) -> None:
    """Returns once it is set.

    Python runs signal handlers in the main thread, but the kernel may hand a signal to any thread: then nobody is
    woken, and a main thread that waits without end would never know. So it looks up now and then.
    """
    while not stop.wait(LOOK_S):
        pass
