"""Live swaps over a WebSocket, through gunicorn as users run it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import simple_websocket

from services.common.decode import decode_picture
from tests.contract.gateway_fake_faces import portrait
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_live import Caller, jpeg
from tests.contract.gateway_process import GatewayProcess
from tests.waiting import PATIENCE_S, PROMPT_S, wait_for


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("gateway-live"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def gateway(stages: FakeStages) -> Iterator[GatewayProcess]:
    process = GatewayProcess(stages.data_dir, consent_interval_s=0.1, live_sessions=2, **stages.targets())
    yield process
    assert process.close() == 0


@pytest.fixture
def face(gateway: GatewayProcess) -> dict[str, Any]:
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = gateway.client.post("/v1/face_consents", json=body).json()["id"]
    made = gateway.client.post("/v1/faces", data={"consent": consent}, files={"picture": ("p.png", portrait(200))})
    return made.json()  # type: ignore[no-any-return]


def test_frames_come_back_with_the_face_in_them(
    gateway: GatewayProcess, stages: FakeStages, face: dict[str, Any]
) -> None:
    caller = Caller(gateway, {"face": face["id"], "selection": "all", "jpeg_quality": 70, "regions": ["skin"]})
    ready = caller.text()
    assert ready["type"] == "ready"
    for number in range(5):
        caller.send(number, jpeg(100))
        answer = caller.frame()
        assert answer.header.id == number and answer.header.outcome == "swapped"
        assert answer.header.faces == 1 and answer.header.latency_ms == pytest.approx(1.5)
        pixels = decode_picture(answer.encoded)
        assert abs(int(pixels[32, 32, 0]) - 200) < 10 and abs(int(pixels[2, 2, 0]) - 100) < 10
    caller.send(5, jpeg(10))
    unchanged = caller.frame()
    assert (unchanged.header.outcome, unchanged.encoded) == ("unchanged", b"")
    setup = stages.doings.live[-1]
    assert setup.jpeg_quality == 70 and setup.assignments[0].faces.selection == 2 and list(setup.options.regions) == [1]
    caller.ws.close()
    job = wait_for(lambda: ended(gateway, ready["job"]))
    assert (job["kind"], job["status"]) == ("live", "succeeded")
    assert job["figures"]["frames_received"] == 6 and job["figures"]["frames_swapped"] == 5
    assert job["figures"]["frames_unchanged"] == 1 and job["figures"]["stage_latency_p95_ms"] > 0


def ended(gateway: GatewayProcess, job_id: str) -> Any:
    job = gateway.client.get(f"/v1/jobs/{job_id}").json()
    return None if job["status"] == "processing" else job


def test_every_frame_is_answered_once_whatever_the_haste(gateway: GatewayProcess, face: dict[str, Any]) -> None:
    caller = Caller(gateway, {"face": face["id"]})
    caller.text()
    large = jpeg(100, 720)
    for number in range(200):
        caller.send(number, large)
    answers = [caller.frame().header for _ in range(200)]
    assert sorted(answer.id for answer in answers) == list(range(200))
    outcomes = {answer.outcome for answer in answers}
    assert outcomes <= {"swapped", "dropped"} and answers[-1].id == 199 and answers[-1].outcome == "swapped"
    shown = [answer.id for answer in answers if answer.outcome == "swapped"]
    assert shown == sorted(shown), "never backwards"
    caller.ws.close()


def test_a_session_ends_with_its_consent(gateway: GatewayProcess, face: dict[str, Any], stages: FakeStages) -> None:
    caller = Caller(gateway, {"face": face["id"]})
    ready = caller.text()
    stages.doings.live_ended.clear()
    gateway.client.post(f"/v1/face_consents/{face['consent']}/revoke")
    told = caller.text()
    assert told["type"] == "error" and told["problem"]["reason"] == "CONSENT_NOT_LIVE"
    assert caller.closed() == 1008
    assert stages.doings.live_ended.wait(PATIENCE_S), "the stage's call is ended too"
    assert wait_for(lambda: ended(gateway, ready["job"]))["status"] == "canceled"
    again = Caller(gateway, {"face": face["id"]})
    assert again.text()["problem"]["reason"] == "CONSENT_NOT_LIVE"


def test_a_session_can_be_cancelled(gateway: GatewayProcess, face: dict[str, Any]) -> None:
    caller = Caller(gateway, {"face": face["id"]})
    job = caller.text()["job"]
    assert gateway.client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "canceled"
    assert caller.text()["problem"]["reason"] == "CANCELLED"
    assert caller.closed() == 1008


@pytest.mark.parametrize(
    ("setup", "reason", "field"),
    [
        ("{", "INVALID_FIELD", None),
        (b"no text", "REQUEST_MALFORMED", None),
        ('{"type": "setup"}', "INVALID_FIELD", "face"),
        ({"face": "nobody"}, "NOT_FOUND", "face"),
        ({"face": "nobody", "regions": ["hat"]}, "INVALID_FIELD", "regions.0"),
        ({"assignments": [{"face": "nobody"}]}, "NOT_FOUND", "assignments.0.face"),
        ({"face": "nobody", "hat": 1}, "INVALID_FIELD", "hat"),
    ],
)
def test_a_wrong_setup_is_told(gateway: GatewayProcess, setup: Any, reason: str, field: str | None) -> None:
    caller = Caller(gateway, setup)
    problem = caller.text()["problem"]
    assert (problem["reason"], problem["field"]) == (reason, field)
    assert caller.closed() == 1008


@pytest.mark.parametrize("message", ["text", b"", b"\xff\xff\xff\xff{}", struct.pack(">I", 2) + b"{}", bytes(4) + b"x"])
def test_what_is_no_frame_ends_the_session(gateway: GatewayProcess, face: dict[str, Any], message: Any) -> None:
    caller = Caller(gateway, {"face": face["id"]})
    caller.text()
    caller.ws.send(message)
    assert caller.text()["problem"]["reason"] == "REQUEST_MALFORMED"
    assert caller.closed() == 1008


def test_only_so_many_sessions(gateway: GatewayProcess, face: dict[str, Any]) -> None:
    callers = [Caller(gateway, {"face": face["id"]}) for _ in range(2)]
    for caller in callers:
        assert caller.text()["type"] == "ready"
    third = Caller(gateway)  # refused before it says anything
    assert third.text()["problem"]["reason"] == "QUEUE_FULL"
    assert third.closed() == 1013
    for caller in callers:
        caller.ws.close()

    def free() -> bool:
        caller = Caller(gateway, {"face": face["id"]})
        told = caller.text()["type"]
        with suppress(simple_websocket.ConnectionClosed):
            caller.ws.close()
        return bool(told == "ready")

    assert wait_for(free)


def test_pages_of_other_sites_get_no_socket(gateway: GatewayProcess) -> None:
    with pytest.raises(Exception, match="403|rejected|Connection"):
        Caller(gateway, Origin="https://elsewhere.example")
    assert gateway.client.get("/v1/swaps/live").status_code == 404, "without an upgrade there is nothing"


def test_stopping_the_gateway_ends_sessions_at_once(tmp_path: Path) -> None:
    fakes = FakeStages(tmp_path)
    process = GatewayProcess(tmp_path, graceful_timeout_s=int(PATIENCE_S), **fakes.targets())
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = process.client.post("/v1/face_consents", json=body).json()["id"]
    files = {"picture": ("p.png", portrait(200))}
    made = process.client.post("/v1/faces", data={"consent": consent}, files=files).json()
    caller = Caller(process, {"face": made["id"]})
    assert caller.text()["type"] == "ready"
    process.process.terminate()
    began_at = time.monotonic()
    assert caller.text()["problem"]["reason"] == "DRAINING"
    assert caller.closed() == 1001
    assert process.close() == 0
    assert time.monotonic() - began_at < 2 * PROMPT_S
    fakes.close()
