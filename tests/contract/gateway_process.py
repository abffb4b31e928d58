"""A gateway as users run it: `python -m services.gateway`, gunicorn and all, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tests.waiting import PATIENCE_S

REPOSITORY = Path(__file__).resolve().parents[2]


class GatewayProcess:
    """Starts on construction; `client` talks to it."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        self.port = free_port()
        values = {
            "data_dir": data_dir,
            "http_port": self.port,
            "log_format": "text",
            "calibration_rounds": 1,
            **settings,
        }
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
        environment |= {f"LIKENESS_{name.upper()}": str(value) for name, value in values.items()}
        self.log_path = data_dir / "gateway.log"
        data_dir.mkdir(parents=True, exist_ok=True)
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.gateway"], cwd=REPOSITORY, env=environment, stderr=self._log
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the gateway ended with {self.process.returncode}: {self.log_path.read_text()}")
            try:
                if self.client.get("/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError(self.log_path.read_text())

    def close(self) -> int:
        """Stops it as an operator does; the exit code."""
        self.client.close()
        self.process.terminate()
        code = self.process.wait(timeout=PATIENCE_S)
        self._log.close()
        return code
