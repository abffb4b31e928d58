"""The examples in docs/http-api.md: every endpoint has one, and all of them work, in the order of the page."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.encode_audio import encode_audio
from services.gateway.accounts.secrets import make_key
from tests.contract.gateway_adaptations import adaptation, file_of
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.contract.gateway_process import REPOSITORY, GatewayProcess
from tests.contract.gateway_worker import WorkerProcess

PAGE = REPOSITORY / "docs" / "http-api.md"
# Whoever reads aloud here says the same words the same way, which is a replay; test_gateway_protected.py has a person.
BY_THE_PERSON = {("POST", "/v1/protected/{protected_id}/removal")}
QUIET = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")}  # which the log leaves out


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def succeeded(log: Path) -> set[tuple[str, str]]:
    """(method, path as OpenAPI writes it) of the requests that the gateway has answered as they wished."""
    found = set()
    for line in log.read_text().splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("route") and int(entry["status"]) < 400:
            found.add((entry["method"], re.sub(r"<(?:[^<:>]+:)?([^<>]+)>", r"{\1}", entry["route"])))
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are for curl")
def test_examples_of_all_endpoints_work(tmp_path: Path) -> None:
    folder = tmp_path / "examples"
    folder.mkdir()
    (folder / "recording.wav").write_bytes(encode_audio(sine(180.0, 3.0), "wav"))
    (folder / "ada.safetensors").write_bytes(file_of(adaptation(180.0), 180.0))
    (folder / "ada.png").write_bytes(portrait())
    (folder / "photo.png").write_bytes(portrait(80))
    reader = tmp_path / "bin" / "read_aloud"
    reader.parent.mkdir()
    reader.write_text(
        f'#!/bin/sh\ncd {REPOSITORY} && exec {sys.executable} -m benchmarks.reading_aloud "$1" "{folder}/$2"\n'
    )
    reader.chmod(0o755)
    key = make_key().text
    stages = FakeStages(tmp_path)
    settings = {**stages.targets(), "auth": "keys", "bootstrap_key": key, "log_format": "json"}
    gateway = GatewayProcess(tmp_path, **settings)
    worker = WorkerProcess(tmp_path, f"worker-{secrets.token_hex(2)}", **{**settings, "log_format": "text"})
    try:
        script = "set -euo pipefail\n" + "\n".join(f"echo '--- block {n}'\n{text}" for n, text in enumerate(blocks()))
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={
                **os.environ,
                "PATH": f"{reader.parent}:{os.environ['PATH']}",
                "LIKENESS_URL": gateway.url,
                "LIKENESS_API_KEY": key,
            },
            capture_output=True,
            text=True,
            timeout=800,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:] + gateway.log_path.read_text()[-3000:]
        operations = {
            (method.upper(), path)
            for path, item in gateway.client.get("/openapi.json").json()["paths"].items()
            for method in item
        }
    finally:
        stages.doings.go_on.set()
        worker.close()
        gateway.close()
        stages.close()
    assert operations - QUIET - BY_THE_PERSON <= succeeded(gateway.log_path), "every endpoint has an example that works"
    assert all(f'"$URL{path}"' in PAGE.read_text() for _, path in QUIET & operations)
    assert (folder / "photo-again.png").read_bytes() == portrait(80)
    assert json.loads((folder / "results.jsonl").read_text().splitlines()[2])["error"] is None
