"""Restarting the gateway while it is used: nobody's request is dropped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.common.encode_audio import encode_audio
from tests.contract.gateway_fakes import HOLD_WORD, FakeStages, sine
from tests.contract.gateway_process import GatewayProcess
from tests.waiting import PATIENCE_S, wait_for

SPEECH = {"input": "Good morning to you. " * 8, "voice": "Ada", "response_format": "wav"}


class Load:
    """Clients that speak, stream, read and watch without a pause, each with connections of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.answers: list[tuple[str, Any]] = []
        works = (self._speak, self._speak, self._stream, self._read, self._read_again_and_again)
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Any) -> None:
        # A connection that is kept may be closed just when its next request is on the way: HTTP leaves it to the client
        # to send that again (RFC 9112, 9.3.1). Hence a connection for each request, but for the last kind.
        kept = httpx.Client(base_url=self._url, timeout=PATIENCE_S)
        while not self._stop.is_set():
            try:
                if work == self._read_again_and_again:
                    answer = work(kept)
                else:
                    with httpx.Client(base_url=self._url, timeout=PATIENCE_S) as client:
                        answer = work(client)
            except httpx.HTTPError as error:
                answer = repr(error)
            self.answers.append((work.__name__, answer))
        kept.close()

    def _speak(self, client: httpx.Client) -> Any:
        return client.post("/v1/audio/speech", json={**SPEECH, "stream": False}).status_code

    def _stream(self, client: httpx.Client) -> Any:
        with client.stream("POST", "/v1/audio/speech", json={**SPEECH, "stream": True}) as response:
            return response.status_code if len(response.read()) > 10_000 else "cut off"

    def _read(self, client: httpx.Client) -> Any:
        return client.get("/v1/jobs?limit=5").status_code

    def _read_again_and_again(self, client: httpx.Client) -> Any:
        try:
            return client.get("/v1/audio/voices").status_code
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return client.get("/v1/audio/voices").status_code


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path)
    yield fakes
    fakes.close()


@pytest.fixture
def serving(tmp_path: Path, stages: FakeStages) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path, workers=2, calibrate="false", **stages.targets())
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = gateway.client.post("/v1/audio/voice_consents", json=body).json()["id"]
    sample = {"audio_sample": ("ada.wav", encode_audio(sine(200.0, 2.0), "wav"), "audio/wav")}
    gateway.client.post("/v1/audio/voices", data={"name": "Ada", "consent": consent}, files=sample)
    yield gateway
    if gateway.process.poll() is None:
        gateway.close()


def booted(gateway: GatewayProcess) -> int:
    return gateway.log_path.read_text().count("Booting worker with pid")


def test_reload_under_load_drops_nothing(serving: GatewayProcess) -> None:
    """SIGHUP: new processes are started, and those from before go when their requests are answered."""
    with Load(serving.url) as load:
        for restart in (1, 2):
            time.sleep(1.0)
            before = len(load.answers)
            serving.process.send_signal(signal.SIGHUP)
            wait_for(lambda wanted=2 + 2 * restart: booted(serving) >= wanted)
            wait_for(lambda wanted=2 * restart: serving.log_path.read_text().count("Worker exiting") >= wanted)
            wait_for(lambda seen=before: len(load.answers) > seen + 10)
    assert len(load.answers) > 30
    assert {name for name, _ in load.answers} == {"_speak", "_stream", "_read", "_read_again_and_again"}
    dropped = [answer for answer in load.answers if answer[1] != 200]
    assert dropped == []


def test_stop_answers_what_was_begun(serving: GatewayProcess, stages: FakeStages) -> None:
    """SIGTERM: who has asked is answered; only then the gateway ends."""
    answers: list[Any] = []
    held = {**SPEECH, "input": f"After an {HOLD_WORD} we go on.", "stream": False}

    def speak() -> None:
        with httpx.Client(base_url=serving.url, timeout=PATIENCE_S) as client:
            answers.append(client.post("/v1/audio/speech", json=held).status_code)

    threads = [threading.Thread(target=speak) for _ in range(6)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(serving.client.get("/v1/jobs?status=processing").json()["data"]) == 6)
    serving.process.terminate()
    time.sleep(0.5)
    assert serving.process.poll() is None, "it waits for them"
    stages.doings.go_on.set()
    assert serving.close() == 0
    for thread in threads:
        thread.join()
    assert answers == [200] * 6
