"""The command line's `up` and `doctor`: what they find and say of a stack, and who may have a folder or a port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from likeness._cli.app import run
from likeness._cli.checks import find_all
from likeness._cli.models import ModelState
from likeness._stack import Stack, announce, claim_folder, find_running
from tests.ports import free_port
from tests.unit.likeness_scripted_gateway import scripted_gateway
from tests.unit.test_likeness_stack import ROOT, toy
from tests.waiting import eventually


def test_doctor_names_each_fault_and_its_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = ModelState("vocoder-wavenet", "onnx", "Apache-2.0", "here", 1, "its SHA-256 is wrong")
    monkeypatch.setattr("likeness._cli.checks.check_models", lambda folder, verify: [state])
    monkeypatch.setattr("likeness._cli.checks.LOW_DISK_BYTES", 10**18)
    monkeypatch.setattr("likeness._cli.checks.EXTRAS", {"cpu": ("no_such_module",), "demo": ("json",)})
    found = {finding.what: finding for finding in find_all(tmp_path, "http://127.0.0.1:1")}
    assert found["extra cpu"].status == "fault" and "no_such_module" in found["extra cpu"].detail
    assert found["extra demo"].status == "ok"
    assert found["models"].detail == "its SHA-256 is wrong" and found["models"].advice == "make setup"
    assert found["disk"].status == "fault" and "--data-dir" in found["disk"].advice
    assert found["stack"].status == "note" and found["stack"].advice == "likeness up"
    assert all(finding.advice for finding in found.values() if finding.status != "ok")


def test_doctor_asks_every_server_of_a_running_stack(tmp_path: Path) -> None:
    stack = Stack([toy("one"), toy("two")], tmp_path / "logs")
    with claim_folder(tmp_path):
        stack.start(30)
        try:
            announce(tmp_path, stack)
            os.kill(stack.pids["two"], signal.SIGSTOP)
            found = {finding.what: finding for finding in find_all(tmp_path, "http://127.0.0.1:1")}
            os.kill(stack.pids["two"], signal.SIGCONT)
        finally:
            stack.stop()
    assert found["one"].status == "ok"
    assert found["two"].status == "fault" and str(tmp_path / "logs" / "two") in found["two"].advice
    assert "MB" in found["stack memory"].detail
    assert find_running(tmp_path) is None


def test_two_stacks_cannot_share_a_folder(tmp_path: Path) -> None:
    script = "from likeness._stack import claim_folder; from pathlib import Path\n"
    script += f"with claim_folder(Path({str(tmp_path)!r})): pass"
    with claim_folder(tmp_path):
        second = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "A stack runs already with the data folder" in second.stderr
    third = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert third.returncode == 0, third.stderr


def test_up_refuses_a_taken_port(capsys: pytest.CaptureFixture[str]) -> None:
    with scripted_gateway() as taken:
        port = taken.url.rpartition(":")[2]
        assert run(["up", "--port", port]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"port {port} on 127.0.0.1 is taken; name another with --port" in line


def test_up_runs_until_ctrl_c(tmp_path: Path) -> None:
    script = (
        "import sys; import likeness._cli.up as up; from tests.unit.test_likeness_stack import toy\n"
        "up.local_servers = lambda *a, **k: [toy('one'), toy('two')]\n"
        "from likeness._cli.app import run\n"
        f"sys.exit(run(['up', '--port', '{free_port()}', '--data-dir', {str(tmp_path)!r}, '--memory']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert eventually(lambda: find_running(tmp_path) is not None)
    running = find_running(tmp_path)
    assert running is not None and running.ready() == {"one": True, "two": True}
    process.send_signal(signal.SIGINT)
    shown = process.stdout.read()
    assert process.wait(60) == 0
    process.stdout.close()
    assert "Likeness is up after" in shown and "together" in shown
    assert not any(running.ready().values())
