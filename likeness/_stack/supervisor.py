"""Starts the servers, watches them, restarts those that die, stops them in order."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from likeness._stack.memory import ProcessMemory, stack_memory
from likeness._stack.process import ServerProcess, ServerSpec, describe_exit

POLL_INTERVAL_S: Final = 0.1
PROBE_INTERVAL_S: Final = 0.25
QUICK_DEATH_S: Final = 10.0  # a server that dies sooner after being ready counts as failing, not as unlucky
MAX_QUICK_DEATHS: Final = 5
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 8.0
STOP_GRACE_S: Final = 35.0  # above the servers' own drain grace


class State(enum.Enum):
    """STARTING -> READY -> (death) WAITING -> STARTING ...; FAILED and STOPPED are ends."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"
    STOPPED = "stopped"


class StackError(Exception):
    """The stack cannot run; the message says which server and shows the end of its log."""


@dataclass(frozen=True)
class StackEvent:
    """A server changed its state; `detail` is a sentence for people."""

    server: str
    state: State
    detail: str


class _Server:
    """One server over all its lives; only the supervisor's thread changes it."""

    def __init__(self, spec: ServerSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self.state = State.WAITING
        self.process: ServerProcess | None = None
        self.next_action_at = 0.0  # monotonic: next start, or next probe
        self.ready_at: float | None = None  # of this life
        self.was_ready = False  # in any life
        self.quick_deaths = 0
        self.detail = ""


class Stack:
    """The servers of one machine. Use as a context manager, or `start()` ... `stop()`.

    Args:
        servers: in the order of their start; stopped in the reverse order, the last one first and alone, so that the
            gateway drains while its stages still answer.
        log_dir: gets one log file per server.
        on_event: called from the supervisor's thread at every change of state.

    One thread of its own starts all processes: the kernel ties their life to the thread that started them.
    """

    def __init__(
        self,
        servers: list[ServerSpec],
        log_dir: Path,
        *,
        on_event: Callable[[StackEvent], None] = lambda event: None,
    ) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._servers = [_Server(spec, log_dir / f"{spec.name}.log") for spec in servers]
        self._on_event = on_event
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stack", daemon=True)

    @property
    def specs(self) -> Mapping[str, ServerSpec]:
        return {server.spec.name: server.spec for server in self._servers}

    @property
    def states(self) -> Mapping[str, State]:
        return {server.spec.name: server.state for server in self._servers}

    @property
    def pids(self) -> Mapping[str, int]:
        return {server.spec.name: server.process.pid for server in self._servers if server.process is not None}

    def memory(self) -> list[ProcessMemory]:
        return stack_memory(self.pids)

    def start(self, timeout_s: float = 600.0, cancelled: threading.Event | None = None) -> None:
        """Starts all and waits until all are ready, or until `cancelled` is set.

        Raises:
            StackError: a server ended or was not ready in time; everything is stopped then.
        """
        for server in self._servers:
            if server.log_path.exists():
                server.log_path.replace(server.log_path.with_suffix(".previous.log"))
        self._thread.start()
        try:
            self._wait_ready(time.monotonic() + timeout_s, timeout_s, cancelled or threading.Event())
        except BaseException:
            self.stop(hurry=True)
            raise

    def _wait_ready(self, give_up_at: float, timeout_s: float, cancelled: threading.Event) -> None:
        while not cancelled.is_set():
            states = self.states
            for server in self._servers:
                if server.state is State.FAILED:
                    raise StackError(server.detail)
            if all(state is State.READY for state in states.values()):
                return
            if time.monotonic() > give_up_at:
                late = next(server for server in self._servers if server.state is not State.READY)
                tail = late.process.log_tail() if late.process else "(it was not started)"
                raise StackError(
                    f"The {late.spec.name} was not ready after {timeout_s:.0f} s. The end of {late.log_path}:\n{tail}"
                )
            time.sleep(POLL_INTERVAL_S)

    def wait_state(self, name: str, state: State, timeout_s: float) -> bool:
        """True as soon as that server is in that state, False after the time."""
        give_up_at = time.monotonic() + timeout_s
        while self.states[name] is not state:
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_INTERVAL_S / 2)
        return True

    def stop(self, *, hurry: bool = False) -> None:
        """Ends all servers: they drain first, unless in a hurry. Returns when none runs; may be called twice."""
        if hurry:
            self.hurry()
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def hurry(self) -> None:
        """Lets a stop that is under way, or comes, kill instead of waiting."""
        self._hurry.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Below: the supervisor's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.wait(POLL_INTERVAL_S):
                for server in self._servers:
                    self._step(server)
        finally:
            self._end_all()

    def _step(self, server: _Server) -> None:
        now = time.monotonic()
        if server.process is not None and server.state in (State.STARTING, State.READY):
            code = server.process.exit_code
            if code is not None:
                self._died(server, code)
                return
        if now < server.next_action_at:
            return
        if server.state is State.WAITING:
            server.process = ServerProcess(server.spec, server.log_path)
            server.ready_at = None
            self._enter(server, State.STARTING, f"starting on {server.spec.address}")
        elif server.state is State.STARTING and server.process is not None:
            server.next_action_at = now + PROBE_INTERVAL_S
            if server.process.is_ready():
                server.ready_at = time.monotonic()
                server.was_ready = True
                self._enter(server, State.READY, f"ready on {server.spec.address} after {server.process.age_s:.1f} s")

    def _died(self, server: _Server, code: int) -> None:
        process = server.process
        if process is None:
            return
        process.kill()  # whatever it had started itself
        lived_well = server.ready_at is not None and time.monotonic() - server.ready_at >= QUICK_DEATH_S
        server.quick_deaths = 1 if lived_well else server.quick_deaths + 1
        name, how = server.spec.name, describe_exit(code)
        if not server.was_ready or server.quick_deaths > MAX_QUICK_DEATHS:
            why = "before it was ready" if not server.was_ready else f"{server.quick_deaths} times in a row"
            tail = process.log_tail()
            self._enter(server, State.FAILED, f"The {name} ended {why} ({how}). The end of {server.log_path}:\n{tail}")
            return
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (server.quick_deaths - 1))
        server.next_action_at = time.monotonic() + wait_s
        self._enter(server, State.WAITING, f"The {name} ended ({how}); starting it again in {wait_s:.1f} s")

    def _enter(self, server: _Server, state: State, detail: str) -> None:
        server.detail = detail
        server.state = state
        self._on_event(StackEvent(server.spec.name, state, detail))

    def _end_all(self) -> None:
        self._end(self._servers[-1:])
        self._end(self._servers[:-1])

    def _end(self, servers: list[_Server]) -> None:
        running = [(server, server.process) for server in servers if server.process is not None]
        for _, process in running:
            process.terminate()
        give_up_at = time.monotonic() + STOP_GRACE_S
        for server, process in running:
            while (code := process.wait(POLL_INTERVAL_S)) is None:
                if self._hurry.is_set() or time.monotonic() > give_up_at:
                    process.kill()
            process.kill()
            if server.state is not State.FAILED:
                self._enter(server, State.STOPPED, f"stopped ({describe_exit(code)})")
