"""When things around the gateway fail: dead, busy and slow stages, a foreign database, a hasty operator."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient

from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import HOLD_WORD, FakeStages, portrait, sine
from tests.contract.gateway_process import GatewayProcess
from tests.waiting import PATIENCE_S, PROMPT_S, wait_for

SPEECH = "/v1/audio/speech"


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path, max_concurrency=1, max_queue_size=0)
    yield fakes
    fakes.close()


def make_client(stages: FakeStages, **settings: Any) -> FlaskClient:
    """A gateway with an enrolled voice `Ada` and face `Bob`."""
    settings = {"calibration_threads": 1, **settings}
    client = create_app(GatewaySettings(data_dir=stages.data_dir, **settings, **stages.targets())).test_client()
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    voice = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
    face = client.post("/v1/face_consents", json=body).get_json()["id"]
    recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    enrolled = client.post("/v1/audio/voices", data={"name": "Ada", "consent": voice, "audio_sample": recording})
    assert enrolled.status_code == 201, enrolled.text
    picture = (io.BytesIO(portrait()), "bob.png")
    assert client.post("/v1/faces", data={"name": "Bob", "consent": face, "picture": picture}).status_code == 201
    return client


@pytest.mark.parametrize("stage", ["synthesizer", "vocoder"])
@pytest.mark.parametrize("stream", [True, False])
def test_dead_stage_is_a_prompt_503(stages: FakeStages, stage: str, stream: bool) -> None:
    client = make_client(stages)
    stages.stop(stage)
    started = time.monotonic()
    response = client.post(SPEECH, json={"input": "Hello.", "voice": "Ada", "stream": stream})
    assert time.monotonic() - started < PROMPT_S
    assert response.status_code == 503
    told = response.get_json()
    assert told["reason"] == "STAGE_UNAVAILABLE"
    assert stage in told["detail"]
    assert int(response.headers["Retry-After"]) >= 1
    job = client.get("/v1/jobs?limit=1").get_json()["data"][0]
    assert (job["status"], job["error"]["reason"]) == ("failed", "STAGE_UNAVAILABLE")
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert [name for name, check in ready.get_json()["checks"].items() if not check["ok"]] == [stage]


def test_dead_faceswap_is_a_prompt_503(stages: FakeStages) -> None:
    client = make_client(stages)
    stages.stop("faceswap")
    started = time.monotonic()
    response = client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(portrait(80)), "t.png")})
    assert time.monotonic() - started < PROMPT_S
    assert (response.status_code, response.get_json()["reason"]) == (503, "STAGE_UNAVAILABLE")
    assert "faceswap" in response.get_json()["detail"]


def test_speech_without_an_encoder_says_that_its_similarity_is_unknown(stages: FakeStages) -> None:
    client = make_client(stages)
    stages.stop("encoder")
    response = client.post(SPEECH, json={"input": "Hello there.", "voice": "Ada"})
    assert response.status_code == 200
    assert response.headers["X-Likeness-Speaker-Similarity"] == "unmeasured"
    job = client.get(f"/v1/jobs/{response.headers['X-Likeness-Job']}").get_json()
    assert job["figures"]["speaker_similarity"] is None
    assert job["figures"]["similarity_error"].startswith("STAGE_UNAVAILABLE")


def test_failed_calibration_fails_the_enrolment(stages: FakeStages) -> None:
    client = make_client(stages)
    stages.stop("vocoder")
    consent = client.get("/v1/audio/voice_consents").get_json()["data"][0]["id"]
    recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    response = client.post("/v1/audio/voices", data={"name": "Eve", "consent": consent, "audio_sample": recording})
    assert (response.status_code, response.get_json()["reason"]) == (503, "STAGE_UNAVAILABLE")
    assert client.get("/v1/audio/voices/Eve").status_code == 404


def test_full_queue_is_429_with_retry_after(stages: FakeStages) -> None:
    client = make_client(stages)
    app = client.application
    stages.doings.go_on.clear()
    body = {"input": f"First words. {HOLD_WORD} and the rest.", "voice": "Ada", "stream": False}
    spoken = len(stages.doings.speakers)
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: app.test_client().post(SPEECH, json=body))
        wait_for(lambda: len(stages.doings.speakers) > spoken)
        wait_for(lambda: _refused(client))
        refused = client.post(SPEECH, json={"input": "Me too.", "voice": "Ada"})
        stages.doings.go_on.set()
        assert held.result().status_code == 200
    assert refused.status_code == 429
    assert refused.get_json()["reason"] == "QUEUE_FULL"
    assert refused.get_json()["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["Retry-After"]) >= 1


def _refused(client: FlaskClient) -> bool:
    return client.post(SPEECH, json={"input": "Is it full?", "voice": "Ada"}).status_code == 429


def test_passed_deadline_is_504(stages: FakeStages) -> None:
    client = make_client(stages, speech_deadline_s=0.8)
    stages.doings.go_on.clear()
    started = time.monotonic()
    response = client.post(SPEECH, json={"input": f"Wait. {HOLD_WORD} more.", "voice": "Ada", "stream": False})
    assert time.monotonic() - started < PROMPT_S
    assert (response.status_code, response.get_json()["reason"]) == (504, "DEADLINE_EXCEEDED")
    assert stages.doings.cancelled.wait(PATIENCE_S), "the synthesizer was told to stop"


def test_stage_that_comes_back_is_found_again(stages: FakeStages) -> None:
    client = make_client(stages)
    port = stages.servers["vocoder"].port
    stages.stop("vocoder")
    assert client.post(SPEECH, json={"input": "Hello.", "voice": "Ada"}).status_code == 503
    stages.restart_vocoder(port)
    wait_for(lambda: client.post(SPEECH, json={"input": "Hello.", "voice": "Ada"}).status_code == 200)


def test_several_workers_share_their_metrics_and_finish_what_runs(tmp_path: Path) -> None:
    """Two gunicorn workers: every scrape shows the sum; SIGTERM lets a running request end."""
    stages = FakeStages(tmp_path)
    gateway = GatewayProcess(tmp_path, workers=2, threads=4, **stages.targets())
    try:
        body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
        voice = gateway.client.post("/v1/audio/voice_consents", json=body).json()["id"]
        enrolled = gateway.client.post(
            "/v1/audio/voices",
            data={"name": "Ada", "consent": voice},
            files={"file": ("a.wav", encode_audio(sine(200.0, 2.0), "wav"))},
        )
        assert enrolled.status_code == 201, enrolled.text
        for _ in range(10):  # a connection each, so that both workers get some
            with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
                assert client.get("/v1/audio/voices").status_code == 200
        counts = {_count_lists(gateway) for _ in range(5)}
        assert counts == {10.0}
        stages.doings.go_on.clear()
        text = f"Enough can be heard before. {HOLD_WORD} after."
        speech = {"input": text, "voice": "Ada", "response_format": "wav", "stream": True}
        with gateway.client.stream("POST", SPEECH, json=speech) as response:
            pieces = response.iter_raw()
            received = next(pieces)
            gateway.process.send_signal(signal.SIGTERM)
            threading.Timer(0.5, stages.doings.go_on.set).start()
            received += b"".join(pieces)
        assert len(received) > 44
        assert gateway.process.wait(timeout=120) == 0
    finally:
        gateway.close()
        stages.close()


def _count_lists(gateway: GatewayProcess) -> float:
    with httpx.Client(base_url=gateway.url, timeout=PATIENCE_S) as client:
        text = client.get("/metrics").text
    name = 'likeness_http_requests_total{method="GET",route="/v1/audio/voices",status="200"}'
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))
