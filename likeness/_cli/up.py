"""`likeness up`."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from likeness._cli.options import DEFAULT_DATA_DIR, DataDir
from likeness._cli.output import complain, print_table, say
from likeness._cli.stack_view import StackView
from likeness._stack import (
    BOOTSTRAP_VARIABLE,
    DEFAULT_HTTP_PORT,
    GATEWAY,
    LOOPBACK,
    ProcessMemory,
    Stack,
    announce,
    claim_folder,
    first_key,
    local_servers,
    port_is_free,
    remember_first_key,
)

START_TIMEOUT_S: Final = 600.0  # the first start on a machine compiles the numba kernels
WATCH_INTERVAL_S: Final = 0.2


def up(
    host: Annotated[str, typer.Option(help="Address the gateway listens on; the stages stay on loopback.")] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the gateway.")] = DEFAULT_HTTP_PORT,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    memory: Annotated[
        bool, typer.Option("--memory", help="Tell how much memory the stack holds when it is up.")
    ] = False,
) -> None:
    """Run the whole platform on this machine. Ctrl-C stops it."""
    if not port_is_free(port, host):
        raise typer.BadParameter(f"port {port} on {host} is taken; name another with --port, or stop what runs there")
    view = StackView()
    key = first_key(data_dir)
    environment = {GATEWAY: {BOOTSTRAP_VARIABLE: key}} if key else None
    servers = local_servers(data_dir, host=host, http_port=port, environment=environment)
    stack = Stack(servers, data_dir / "logs", on_event=view.on_event)
    with claim_folder(data_dir), stop_signals() as stopped:
        started_at = time.monotonic()
        with view.starting(stack):
            stack.start(START_TIMEOUT_S, stopped)
        try:
            if not stopped.is_set():
                announce(data_dir, stack)
                _tell(stack, host, port, data_dir, time.monotonic() - started_at, memory)
                if key is not None:
                    _tell_key(key, data_dir)
            while not stopped.wait(WATCH_INTERVAL_S):
                pass
            complain("Stopping; once more to stop at once.", style="dim")
        finally:
            _stop(stack)


def _tell(stack: Stack, host: str, port: int, data_dir: Path, seconds: float, memory: bool) -> None:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    say(f"Likeness is up after {seconds:.1f} s: http://{shown}:{port}")
    say(f"API pages http://{shown}:{port}/docs, logs {data_dir / 'logs'}. Ctrl-C stops it.")
    if memory:
        print_memory(stack.memory())


def _tell_key(key: str, data_dir: Path) -> None:
    say(f"API key, shown only now: {key}")
    say("On this machine no key is needed; from elsewhere send it as LIKENESS_API_KEY. `likeness keys` makes others.")
    remember_first_key(data_dir, key)


def print_memory(found: list[ProcessMemory]) -> None:
    """One row per server and the sum."""
    total = sum(item.size_bytes for item in found)
    rows: list[tuple[object, ...]] = [(item.name, item.processes, f"{item.size_bytes / 1e6:.0f}") for item in found]
    measure = "+".join(sorted({item.measure for item in found})) or "rss"
    rows.append(("together", sum(item.processes for item in found), f"{total / 1e6:.0f}"))
    print_table("Memory", ("server", "processes", f"MB ({measure})"), rows, empty="")


def _stop(stack: Stack) -> None:
    """Stops cleanly; a second Ctrl-C or SIGTERM meanwhile stops at once."""

    def hurry(number: int, frame: FrameType | None) -> None:
        stack.hurry()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hurry)
    stack.stop()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, instead of interrupting whatever runs."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield stopped
    finally:
        for number in numbers:
            signal.signal(number, before[number])
