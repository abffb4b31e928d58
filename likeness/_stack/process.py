"""One server of the stack: how it is started, asked whether it is ready, and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_TIMEOUT_S: Final = 1.0
TAIL_LINES: Final = 12
TAIL_BYTES: Final = 16_384


@dataclass(frozen=True)
class ServerSpec:
    """What to start. `grpc_service` names the health service of a stage; a server without one is asked over HTTP."""

    name: str
    module: str
    host: str
    port: int
    metrics_port: int = 0
    grpc_service: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


class ServerProcess:
    """A running server; its output goes to a log file."""

    def __init__(self, spec: ServerSpec, log_path: Path) -> None:
        self.spec = spec
        self.log_path = log_path
        self.started_at = time.monotonic()
        with log_path.open("ab") as log:
            self._process = self._spawn(log)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own modules with our own arguments
            [sys.executable, "-m", "likeness._stack.child", str(os.getpid()), self.spec.module],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal reaches only the stack, which then stops the servers in order.
            process_group=0,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative the signal that ended it."""
        return self._process.poll()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.started_at

    def is_ready(self) -> bool:
        return is_ready(self.spec)

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the server and whatever it started, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def wait(self, timeout_s: float) -> int | None:
        """Exit code, or None when it still runs after that time."""
        try:
            return self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self) -> str:
        return log_tail(self.log_path)


def log_tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log, or a sentence saying that there are none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(text.rstrip().splitlines()[-lines:]) or "(the log is empty)"


def describe_exit(code: int) -> str:
    """An exit code in words: "exit code 1", "SIGKILL"."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def is_ready(spec: ServerSpec) -> bool:
    """Asks the server itself: gRPC health of its service, or GET /readyz."""
    return _stage_is_ready(spec) if spec.grpc_service else _gateway_is_ready(spec)


def _stage_is_ready(spec: ServerSpec) -> bool:
    with grpc.insecure_channel(spec.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=spec.grpc_service), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _gateway_is_ready(spec: ServerSpec) -> bool:
    host = "127.0.0.1" if spec.host in ("0.0.0.0", "::") else spec.host  # noqa: S104 - compared, not bound
    try:
        return httpx.get(f"http://{host}:{spec.port}/readyz", timeout=PROBE_TIMEOUT_S, trust_env=False).is_success
    except httpx.HTTPError:
        return False
