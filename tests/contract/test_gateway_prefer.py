"""`Prefer: respond-async` and `wait=n`, and what else a request may say of its job: webhook, priority, deadline."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask
from standardwebhooks.webhooks import Webhook

from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.gateway.api.prefer import current_preference
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import BREAK_WORD, FakeStages, portrait, sine, spoken_seconds
from tests.contract.gateway_worker import worker_inside
from tests.waiting import wait_for

TEXT = "Good morning to you."


class Stack:
    def __init__(self, stages: FakeStages, client: Any) -> None:
        self.stages, self.client = stages, client

    def speak(self, prefer: str | None = None, **fields: Any) -> Any:
        headers = {} if prefer is None else {"Prefer": prefer}
        body = {"input": TEXT, "voice": "Ada", "response_format": "wav", **fields}
        return self.client.post("/v1/audio/speech", json=body, headers=headers)

    def ended(self, job_id: str) -> dict[str, Any]:
        def look() -> Any:
            job = self.client.get(f"/v1/jobs/{job_id}").get_json()
            return job if job["status"] in ("succeeded", "failed", "canceled") else None

        return wait_for(look)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("prefer")
    stages = FakeStages(folder)
    settings = GatewaySettings(data_dir=folder, webhook_allow_loopback=True, **stages.targets())
    app = create_app(settings)
    client = app.test_client()
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
    sample = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    client.post("/v1/audio/voices", data={"name": "Ada", "consent": consent, "audio_sample": sample})
    consent = client.post("/v1/face_consents", json=body).get_json()["id"]
    client.post("/v1/faces", data={"name": "Bob", "consent": consent, "picture": (io.BytesIO(portrait()), "b.png")})
    with worker_inside(settings):
        yield Stack(stages, client)
    app.extensions["likeness"].close()
    stages.close()


@pytest.mark.parametrize(
    ("header", "respond_async", "wait_s"),
    [
        ("", False, None),
        ("handling=lenient", False, None),
        ("respond-async", True, None),
        ("Respond-Async, wait=10", True, 10),
        ("wait=5; x=y", False, 5),
        ('wait="7"', False, 7),
        ("wait=100000", False, 60),
        ("wait=-1, wait", False, None),
        ("wait=٣", False, None),
    ],
)
def test_header_is_read_as_the_rfc_says(header: str, respond_async: bool, wait_s: int | None) -> None:
    with Flask("x").test_request_context(environ_base={"HTTP_PREFER": header}):
        preference = current_preference()
    assert (preference.respond_async, preference.wait_s) == (respond_async, wait_s)


def test_speech_is_queued_and_becomes_media(stack: Stack) -> None:
    answer = stack.speak("respond-async", input=f"{TEXT} " * 300)
    assert answer.status_code == 202, answer.text
    job = answer.get_json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert (job["status"], job["kind"], job["media"]) == ("queued", "speech", None)
    ended = stack.ended(job["id"])
    assert ended["status"] == "succeeded", ended
    audio = decode_audio(stack.client.get(ended["media_url"]).data)
    assert audio.duration_s == pytest.approx(300 * spoken_seconds(TEXT), rel=0.02)  # pauses where parts meet count, too
    assert "input" not in ended["parameters"]


def test_speech_that_is_done_in_time_is_the_answer(stack: Stack) -> None:
    answer = stack.speak("wait=30")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.content_type == "audio/wav"
    assert decode_audio(answer.data).duration_s == pytest.approx(spoken_seconds(TEXT), abs=0.01)
    assert answer.headers["X-Likeness-Figures"] == "complete"
    assert stack.ended(answer.headers["X-Likeness-Job"])["status"] == "succeeded"


def test_failure_in_time_is_a_problem(stack: Stack) -> None:
    answer = stack.speak("respond-async, wait=30", input="?!")
    assert (answer.status_code, answer.get_json()["reason"], answer.get_json()["field"]) == (
        422,
        "TEXT_UNPRONOUNCEABLE",
        "input",
    )


def test_what_takes_longer_is_accepted(stack: Stack) -> None:
    stack.stages.doings.go_on.clear()
    answer = stack.speak("wait=1", input="intermission")
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "wait=1")
    stack.stages.doings.go_on.set()
    assert stack.ended(answer.get_json()["id"])["status"] == "succeeded"


def test_swaps_wait_too(stack: Stack) -> None:
    def swap(prefer: str) -> Any:
        data = {"face": "Bob", "target": (io.BytesIO(portrait(80)), "t.png")}
        return stack.client.post("/v1/swaps", data=data, headers={"Prefer": prefer})

    done = swap("wait=30")
    assert (done.status_code, done.get_json()["status"]) == (201, "succeeded"), done.text
    assert done.headers["Preference-Applied"] == "wait=30"
    queued = swap("respond-async")
    assert queued.status_code == 202
    assert queued.headers["Location"] == f"/v1/swaps/{queued.get_json()['id']}"
    assert stack.ended(queued.get_json()["id"])["status"] == "succeeded"


def test_without_the_header_long_texts_and_streams_are_as_before(stack: Stack) -> None:
    refused = stack.speak(input="x" * 4097)
    assert (refused.status_code, refused.get_json()["field"]) == (400, "input")
    assert stack.speak("respond-async", stream=True).get_json()["field"] == "stream"
    assert stack.speak("wait=1", stream_format="sse").get_json()["field"] == "stream_format"
    assert stack.speak("respond-async", voice="Nobody").status_code == 404


def test_deadline_and_priority_are_those_of_the_request(stack: Stack) -> None:
    stack.stages.doings.go_on.clear()
    job = stack.speak("respond-async", input="intermission", deadline_seconds=1, priority=-7).get_json()
    assert job["priority"] == -7
    assert 0 <= job["deadline_at"] - job["created_at"] <= 2
    ended = stack.ended(job["id"])
    stack.stages.doings.go_on.set()
    assert (ended["status"], ended["error"]["reason"]) == ("failed", "DEADLINE_EXCEEDED")
    for field, value in (("priority", 5000), ("deadline_seconds", 0), ("webhook_url", "https://192.168.0.1/")):
        assert stack.speak("respond-async", **{field: value}).get_json()["field"] == field


@pytest.mark.parametrize("prefer", [None, "respond-async"])
@pytest.mark.parametrize(("text", "kind"), [(TEXT, "job.succeeded"), (f"A {BREAK_WORD}.", "job.failed")])
def test_end_of_a_job_is_told(stack: Stack, prefer: str | None, text: str, kind: str) -> None:
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        stack.speak(prefer, input=text, webhook_url=f"http://127.0.0.1:{server.server_address[1]}/").close()
        (message,) = wait_for(lambda: got)
        server.shutdown()
    secret = stack.client.get("/v1/webhooks/secret").get_json()["secret"]
    told = Webhook(secret).verify(message[1], message[0])
    assert told["type"] == kind
    page = stack.client.get("/v1/webhooks/deliveries", query_string={"job": told["data"]["id"]}).get_json()
    deliveries = page["data"]
    assert [(item["attempts"], item["job"]) for item in deliveries] == [(1, told["data"]["id"])]
