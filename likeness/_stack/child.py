"""Runs a module as a server that never outlives the stack: `python -m likeness._stack.child PARENT_PID MODULE`.

On Linux the kernel is asked (PR_SET_PDEATHSIG, see prctl(2)) for a SIGTERM when the thread that started this
process ends, so that a stack killed with SIGKILL leaves no server behind. Elsewhere a watcher thread looks whether the
parent has changed. Done here rather than in `preexec_fn`, which may deadlock in a parent with threads.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

PR_SET_PDEATHSIG: Final = 1
WATCH_INTERVAL_S: Final = 1.0


def end_with_parent(parent_pid: int) -> None:
    """Arranges that this process gets SIGTERM when its parent is gone; at once if it is gone already."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_watch, args=(parent_pid,), daemon=True, name="parent-watch").start()
    if os.getppid() != parent_pid:
        sys.exit("the process that started this one has ended")


def _watch(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(WATCH_INTERVAL_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parent_pid, module = int(sys.argv[1]), sys.argv[2]
    end_with_parent(parent_pid)
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
