"""A data folder belongs to one stack at a time; `stack.json` in it tells where that one listens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from likeness._stack.process import ServerSpec, is_ready
from likeness._stack.supervisor import Stack, StackError

LOCK_FILE: Final = "stack.lock"
STATE_FILE: Final = "stack.json"


@dataclass(frozen=True)
class RunningStack:
    """What a running stack wrote about itself."""

    pid: int
    servers: Mapping[str, ServerSpec]

    def ready(self) -> dict[str, bool]:
        """Asks every server."""
        return {name: is_ready(spec) for name, spec in self.servers.items()}


@contextmanager
def claim_folder(data_dir: Path) -> Iterator[None]:
    """Holds the folder for this process; the system lets go of it even when the process is killed.

    Raises:
        StackError: another stack holds it.
    """
    import fcntl

    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            running = find_running(data_dir)
            who = f" (process {running.pid})" if running else ""
            raise StackError(
                f"A stack runs already with the data folder {data_dir}{who}. Stop it, or give another --data-dir."
            ) from error
        try:
            yield
        finally:
            (data_dir / STATE_FILE).unlink(missing_ok=True)


def announce(data_dir: Path, stack: Stack) -> None:
    """Writes where the servers of this stack listen."""
    servers = [
        {
            "name": spec.name,
            "module": spec.module,
            "host": spec.host,
            "port": spec.port,
            "metrics_port": spec.metrics_port,
            "grpc_service": spec.grpc_service,
        }
        for spec in stack.specs.values()
    ]
    state = json.dumps({"pid": os.getpid(), "servers": servers}, indent=2)
    (data_dir / STATE_FILE).write_text(state + "\n", encoding="utf-8")


def find_running(data_dir: Path) -> RunningStack | None:
    """The stack that holds the folder, or None."""
    import fcntl

    try:
        with (data_dir / LOCK_FILE).open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                state = json.loads((data_dir / STATE_FILE).read_text(encoding="utf-8"))
                specs = (ServerSpec(**server) for server in state["servers"])
                return RunningStack(int(state["pid"]), {spec.name: spec for spec in specs})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None
