"""The local stack, with toy servers: what happens when servers are slow, fail, die, or the stack itself is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from likeness._stack import (
    ServerSpec,
    Stack,
    StackError,
    StackEvent,
    State,
    first_key,
    free_ports,
    local_servers,
    port_is_free,
    remember_first_key,
)
from likeness._stack import supervisor as supervisor_module
from likeness._stack.ports import choose_ports
from likeness._stack.process import describe_exit, log_tail
from services.gateway.accounts.secrets import read_key
from tests.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
TOY = "tests.unit.likeness_toy_server"


def toy(name: str = "toy", behaviour: str = "good") -> ServerSpec:
    port = free_port()
    environment = {"LIKENESS_PORT": str(port), "TOY_BEHAVIOUR": behaviour, "PYTHONPATH": str(ROOT)}
    return ServerSpec(name, TOY, "127.0.0.1", port, grpc_service="toy.v1.ToyService", environment=environment)


def test_starts_and_stops_all(tmp_path: Path) -> None:
    events: list[StackEvent] = []
    stack = Stack([toy("one"), toy("two")], tmp_path, on_event=events.append)
    stack.start(timeout_s=120)
    pids = dict(stack.pids)
    assert stack.states == {"one": State.READY, "two": State.READY}
    assert {memory.name for memory in stack.memory()} == {"one", "two"}
    assert all(5e6 < memory.size_bytes < 500e6 for memory in stack.memory())
    stack.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert stack.states == {"one": State.STOPPED, "two": State.STOPPED}
    stopped = [event.server for event in events if event.state is State.STOPPED]
    assert stopped == ["two", "one"], "the last server, the gateway, ends before those that it calls"
    assert "SIGTERM" in (tmp_path / "one.log").read_text()


def test_a_server_that_dies_at_the_start_is_named_with_its_log(tmp_path: Path) -> None:
    stack = Stack([toy("good"), toy("bad", "dies_at_start")], tmp_path)
    with pytest.raises(StackError, match=r"(?s)bad ended before it was ready \(exit code 1\).*model file is missing"):
        stack.start(timeout_s=120)
    assert not any(psutil.pid_exists(pid) for pid in stack.pids.values())


def test_a_server_that_is_never_ready_is_named_with_its_log(tmp_path: Path) -> None:
    stack = Stack([toy("slow", "never_ready"), toy("good")], tmp_path)
    with pytest.raises(StackError, match=r"(?s)The slow was not ready after 6 s.*toy: loading for ever"):
        stack.start(timeout_s=6)
    assert not any(psutil.pid_exists(pid) for pid in stack.pids.values())


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    events: list[StackEvent] = []
    stack = Stack([toy()], tmp_path, on_event=events.append)
    stack.start(timeout_s=120)
    try:
        first = stack.pids["toy"]
        os.kill(first, signal.SIGKILL)
        assert stack.wait_state("toy", State.WAITING, 5)
        assert stack.wait_state("toy", State.READY, 30)
        assert stack.pids["toy"] != first
        assert any("ended (SIGKILL); starting it again" in event.detail for event in events)
    finally:
        stack.stop()


def test_gives_up_on_a_server_that_keeps_dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "MAX_QUICK_DEATHS", 2)
    monkeypatch.setattr(supervisor_module, "BACKOFF_FIRST_S", 0.05)
    events: list[StackEvent] = []
    stack = Stack([toy("weak", "dies_when_ready"), toy("strong")], tmp_path, on_event=events.append)
    stack.start(timeout_s=120)
    try:
        assert stack.wait_state("weak", State.FAILED, 30)
        assert stack.states["strong"] is State.READY, "the others go on"
        assert "The weak ended 3 times in a row (exit code 3)" in events[-1].detail
    finally:
        stack.stop()


def test_a_server_that_ignores_sigterm_is_killed_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_GRACE_S", 0.5)
    stack = Stack([toy("deaf", "ignores_sigterm")], tmp_path)
    stack.start(timeout_s=120)
    pid = stack.pids["deaf"]
    stack.stop()
    assert not psutil.pid_exists(pid)


def test_a_hurried_stop_does_not_wait(tmp_path: Path) -> None:
    """What a second Ctrl-C does."""
    stack = Stack([toy("deaf", "ignores_sigterm")], tmp_path)
    stack.start(timeout_s=120)
    pid = stack.pids["deaf"]
    threading.Timer(0.5, stack.hurry).start()
    started_at = time.monotonic()
    stack.stop()
    assert time.monotonic() - started_at < 10 < supervisor_module.STOP_GRACE_S
    assert not psutil.pid_exists(pid)


def test_children_of_a_killed_server_end_too(tmp_path: Path) -> None:
    stack = Stack([toy("parent", "has_child")], tmp_path)
    stack.start(timeout_s=120)
    try:
        (child,) = psutil.Process(stack.pids["parent"]).children()
        os.kill(stack.pids["parent"], signal.SIGKILL)
        assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    finally:
        stack.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_no_server_outlives_a_stack_that_is_killed_hard(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.unit.test_likeness_stack import toy; "
        "from likeness._stack import Stack\n"
        f"stack = Stack([toy('one'), toy('two')], Path({str(tmp_path)!r})); stack.start(120)\n"
        "print(*stack.pids.values(), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(psutil.pid_exists(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_ports() -> None:
    first, second = free_ports(2)
    assert first != second and port_is_free(first)
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert not port_is_free(first)
        chosen = choose_ports({"a": first, "b": second}, prefer=True)
    assert chosen["b"] == second and chosen["a"] != first
    assert choose_ports({"b": second}, prefer=False)["b"] != second


def test_servers_of_one_machine_find_each_other(tmp_path: Path) -> None:
    *stages, worker, gateway = local_servers(
        tmp_path, http_port=8123, environment={"encoder": {"LIKENESS_THREADS": "1"}}
    )
    assert [stage.name for stage in stages] == ["encoder", "synthesizer", "vocoder", "faceswap"]
    assert gateway.environment["LIKENESS_HTTP_PORT"] == "8123"
    assert all(server.environment["LIKENESS_TLS_DIR"] == "" for server in (*stages, worker, gateway))
    assert worker.environment["LIKENESS_FACESWAP_TARGET"] == stages[3].address and worker.port == worker.metrics_port
    for stage in stages:
        assert gateway.environment[f"LIKENESS_{stage.name.upper()}_TARGET"] == stage.address
        assert stage.environment["LIKENESS_HOST"] == "127.0.0.1"
        assert stage.environment["LIKENESS_DATA_DIR"] == str(tmp_path)
    assert stages[0].environment["LIKENESS_THREADS"] == "1"
    assert len({stage.port for stage in stages} | {stage.metrics_port for stage in stages}) == 8


def test_exit_and_log_in_words(tmp_path: Path) -> None:
    assert describe_exit(2) == "exit code 2"
    assert describe_exit(-9) == "SIGKILL"
    log = tmp_path / "x.log"
    assert log_tail(log) == "(the log is empty)"
    log.write_text("".join(f"line {index}\n" for index in range(5000)))
    assert log_tail(log, 2) == "line 4998\nline 4999"


def test_a_folder_gets_a_key_at_its_first_start_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = first_key(tmp_path)
    assert key is not None
    assert read_key(key).text == key, "the gateway takes it"
    assert first_key(tmp_path) != key, "it is of chance, and nothing was shown yet"
    remember_first_key(tmp_path, key)
    assert first_key(tmp_path) is None
    assert key not in (tmp_path / "first-key").read_text()
    monkeypatch.setenv("LIKENESS_BOOTSTRAP_KEY", key)
    assert first_key(tmp_path / "other") is None
