"""`likeness up` as a user runs it: comes up, tells its memory, serves, and leaves nothing behind on Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from likeness._stack import find_running, port_is_free
from services.common.settings import REPOSITORY_ROOT
from services.gateway.accounts.secrets import read_key
from tests.integration.conftest import RunningStack
from tests.ports import free_port
from tests.waiting import eventually

MOST_IDLE_MEMORY_BYTES = 2.5e9


def test_the_idle_stack_is_small(running: RunningStack) -> None:
    """Proportional set size of the six servers and all their processes; `likeness up --memory` tells the same."""
    found = running.stack.memory()
    total = sum(item.size_bytes for item in found)
    print({item.name: round(item.size_bytes / 1e6) for item in found}, round(total / 1e6), "MB")
    assert {item.name for item in found} == {"encoder", "synthesizer", "vocoder", "faceswap", "gateway", "worker"}
    assert 100e6 < total < MOST_IDLE_MEMORY_BYTES


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "likeness", "up", "--port", str(port), "--data-dir", str(tmp_path), "--memory"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY_ROOT
    )
    assert process.stdout is not None
    try:
        assert eventually(lambda: find_running(tmp_path) is not None or process.poll() is not None, 600)
        assert process.poll() is None, process.stdout.read()
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60).json()["status"] == "ready"
        assert httpx.get(f"http://127.0.0.1:{port}/docs", timeout=60).status_code == 200
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 6
        process.send_signal(signal.SIGINT)
        shown = process.stdout.read()
        assert process.wait(60) == 0, shown
    finally:
        process.kill()
        process.stdout.close()
    assert eventually(lambda: not any(child.is_running() for child in children))
    assert port_is_free(port)
    assert re.search(r"Likeness is up after [\d.]+ s: http://127.0.0.1:\d+", shown)
    assert "together" in shown
    told = re.search(r"API key, shown only now: (\S+)", shown)
    assert told is not None
    assert read_key(told[1]).prefix == (tmp_path / "first-key").read_text().strip()
    for name in ("encoder", "synthesizer", "vocoder", "faceswap", "gateway"):
        assert (tmp_path / "logs" / f"{name}.log").stat().st_size > 0
