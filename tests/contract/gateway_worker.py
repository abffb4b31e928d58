"""Workers for tests: as users run them, a process, and one inside the test's own process, which starts in no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.gateway.context import open_gateway
from services.gateway.jobs.runner import Runner
from services.gateway.settings import GatewaySettings
from tests.waiting import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]


class WorkerProcess:
    """`python -m services.gateway.worker`, ready after construction."""

    def __init__(self, data_dir: Path, worker_id: str = "worker", **settings: Any) -> None:
        self.id = worker_id
        values = {"data_dir": data_dir, "log_format": "text", "worker_id": worker_id, "log_level": "info", **settings}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
        environment |= {f"LIKENESS_{name.upper()}": str(value) for name, value in values.items()}
        data_dir.mkdir(parents=True, exist_ok=True)
        self.log_path = data_dir / f"{worker_id}.log"
        self._log = self.log_path.open("ab")
        begin = self._log.tell()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway.worker"], cwd=REPOSITORY, env=environment, stderr=self._log
        )
        deadline = time.monotonic() + PATIENCE_S
        while b"ready, metrics on port" not in self.log_path.read_bytes()[begin:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker is not ready: {self.log_path.read_text()}")
            time.sleep(0.05)
        told = self.log_path.read_bytes()[begin:].split(b"ready, metrics on port", 1)[1].split()[0]
        self.metrics_url = f"http://127.0.0.1:{int(told)}/metrics"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)
        self._log.close()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> int:
        """Stops it as an operator does; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(timeout=PATIENCE_S)
        self._log.close()
        return code


@contextmanager
def worker_inside(settings: GatewaySettings) -> Iterator[Runner]:
    """A worker in this process, for the gateway of these settings. One at a time: the queue's library knows one."""
    gateway = open_gateway(settings)
    runner = Runner(gateway)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()
        gateway.close()
