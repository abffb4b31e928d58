"""A process ends on SIGTERM, whichever of its threads the kernel gives the signal to."""

from __future__ import annotations

import subprocess
import sys

from services.common.settings import REPOSITORY_ROOT
from tests.waiting import PATIENCE_S

PROGRAM = """
import signal, threading, time
from services.common.stopping import stop_signals, wait_until

stop = stop_signals()
sleeper = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
sleeper.start()

def send():
    time.sleep(0.3)  # the main thread waits by now
    signal.pthread_kill(sleeper.ident, signal.SIGTERM)

threading.Thread(target=send, daemon=True).start()
wait_until(stop)
print("stopped")
"""


def test_a_signal_that_another_thread_got_ends_the_process() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert found.stdout == "stopped\n", found.stderr
