"""More work than a process takes at once is refused in a moment; what is quick is answered all the while."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import BREAK_WORD, HOLD_WORD, FakeStages, sine
from tests.waiting import wait_for

PLACES = 2
LONG = "This sentence goes on and on until it is long enough to be streamed. " * 3


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, FakeStages]]:
    folder = tmp_path_factory.mktemp("admission")
    stages = FakeStages(folder)
    app = create_app(GatewaySettings(data_dir=folder, work_places=PLACES, **stages.targets()))
    client = app.test_client()
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
    sample = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    client.post("/v1/audio/voices", data={"name": "Ada", "consent": consent, "audio_sample": sample})
    yield app, stages
    app.extensions["likeness"].close()
    stages.close()


def speak(app: Any, text: str, **fields: Any) -> Any:
    body = {"input": text, "voice": "Ada", "response_format": "wav", "stream": False, **fields}
    return app.test_client().post("/v1/audio/speech", json=body)


def assert_refused(response: Any) -> None:
    assert response.status_code == 429, response.text
    assert response.get_json()["reason"] == "QUEUE_FULL"
    assert int(response.headers["Retry-After"]) >= 1


def test_work_beyond_the_places_is_refused_and_the_rest_goes_on(stack: tuple[Any, FakeStages]) -> None:
    app, stages = stack
    stages.doings.go_on.clear()
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(speak(app, f"An {HOLD_WORD}.").status_code))
        for _ in range(PLACES)
    ]
    for thread in threads:
        thread.start()
    client = app.test_client()
    wait_for(lambda: len(client.get("/v1/jobs?status=processing").get_json()["data"]) == PLACES)
    assert_refused(speak(app, "One more."))
    assert_refused(client.post("/v1/swaps", data={}))
    assert client.get("/v1/audio/voices").status_code == 200
    stages.doings.go_on.set()
    for thread in threads:
        thread.join()
    assert answers == [200] * PLACES
    assert speak(app, "One more.").status_code == 200


def test_stream_occupies_its_place_until_its_end(stack: tuple[Any, FakeStages]) -> None:
    app, _ = stack
    streams = [speak(app, LONG, stream=True) for _ in range(PLACES)]
    assert_refused(speak(app, "One more."))
    streams[0].close()  # the listener has left
    assert speak(app, "One more.").status_code == 200
    assert len(streams[1].data) > 10_000
    streams[1].close()


def test_places_come_back_from_whatever_fails(stack: tuple[Any, FakeStages]) -> None:
    app, _ = stack
    for _ in range(2 * PLACES):
        assert speak(app, f"A {BREAK_WORD}.").status_code == 500
        assert speak(app, "?!").status_code == 422
        assert speak(app, "Hello.", voice="Nobody").status_code == 404
        assert app.test_client().post("/v1/audio/speech", data=b"{").status_code == 400
    assert speak(app, "Hello.").status_code == 200
