"""The HTTP client against a scripted server: what it sends, what it makes of answers, what it makes of failures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import likeness
from tests.unit.likeness_scripted_gateway import Answer, ScriptedGateway, json_answer, problem, scripted_gateway

CONSENT = {
    "id": "cons_1",
    "object": "audio.voice_consent",
    "created_at": 1,
    "who": "Juniper",
    "kind": "synthetic",
    "uses": ["speech"],
    "evidence": "made with flite",
    "attested_by": None,
    "expires_at": None,
    "revoked_at": None,
    "state": "live",
}
JOB = {"id": "job_1", "kind": "speech", "status": "succeeded", "created_at": 1}


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: ScriptedGateway) -> Iterator[likeness.Client]:
    with likeness.Client(gateway.url + "/", api_key="secret", timeout=60) as opened:
        yield opened


def test_public_names() -> None:
    assert likeness.__all__ == [
        "ApiKey",
        "AuditAnchor",
        "AuditEntry",
        "AuditVerification",
        "Batch",
        "BatchCounts",
        "Challenge",
        "Client",
        "Consent",
        "Face",
        "Grant",
        "Job",
        "JobEvent",
        "LikenessAPIError",
        "LikenessClientError",
        "LikenessConnectionError",
        "LikenessJobError",
        "Media",
        "MediaFile",
        "Origin",
        "Progress",
        "ProtectedPerson",
        "Receipt",
        "Speech",
        "SpeechFigures",
        "Swap",
        "SwapJob",
        "Tenant",
        "Upload",
        "Verification",
        "Voice",
        "Word",
        "to_srt",
        "to_vtt",
    ]
    assert all(hasattr(likeness, name) for name in likeness.__all__)


def test_creates_a_consent(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["POST /v1/audio/voice_consents"] = json_answer(CONSENT, 201)
    consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="made with flite")
    assert (consent.id, consent.state, consent.uses) == ("cons_1", "live", ["speech"])
    (asked,) = gateway.asked
    assert asked.json == {"who": "Juniper", "kind": "synthetic", "evidence": "made with flite"}
    assert asked.headers["Authorization"] == "Bearer secret"


def test_faces_have_consents_of_their_own(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["POST /v1/face_consents/cons_1/revoke"] = json_answer({**CONSENT, "state": "revoked"})
    assert client.face_consents.revoke("cons_1").state == "revoked"


def test_lists_follow_every_page(client: likeness.Client, gateway: ScriptedGateway) -> None:
    for after, has_more in (("", True), ("&after=cons_2", False)):
        data = [{**CONSENT, "id": f"cons_{number}"} for number in ((3, 2) if has_more else (1,))]
        page = {"object": "list", "data": data, "has_more": has_more, "last_id": data[-1]["id"]}
        gateway.answers[f"GET /v1/audio/voice_consents?limit=100{after}"] = json_answer(page)
    assert [consent.id for consent in client.voice_consents.list()] == ["cons_3", "cons_2", "cons_1"]


@pytest.mark.parametrize("source", ["path", "bytes", "file"])
def test_enrols_from_path_bytes_and_file(
    client: likeness.Client, gateway: ScriptedGateway, tmp_path: Path, source: str
) -> None:
    gateway.answers["POST /v1/audio/voices"] = json_answer(
        {"id": "voice_1", "name": "juniper", "consent": "cons_1", "created_at": 1, "quality": {"advice": []}}, 201
    )
    path = tmp_path / "juniper.flac"
    path.write_bytes(b"fLaC sound")
    given = {"path": path, "bytes": b"fLaC sound", "file": io.BytesIO(b"fLaC sound")}[source]
    assert client.voices.enrol("juniper", given, consent="cons_1").id == "voice_1"  # type: ignore[arg-type]
    body = gateway.asked[0].body
    assert b"fLaC sound" in body and b'name="audio_sample"; filename=' in body and b"cons_1" in body
    if source == "path":
        assert b'filename="juniper.flac"' in body


@pytest.mark.parametrize(("fast", "calibration"), [(False, b"full"), (True, b"fast")])
def test_enrols_with_or_without_the_search_for_the_voice(
    client: likeness.Client, gateway: ScriptedGateway, fast: bool, calibration: bytes
) -> None:
    gateway.answers["POST /v1/audio/voices"] = json_answer(
        {"id": "voice_1", "name": "juniper", "consent": "cons_1", "created_at": 1, "quality": {"advice": []}}, 201
    )
    client.voices.enrol("juniper", b"fLaC sound", consent="cons_1", fast=fast)
    assert b'name="calibration"\r\n\r\n' + calibration + b"\r\n" in gateway.asked[0].body


def test_speech_with_complete_figures(client: likeness.Client, gateway: ScriptedGateway) -> None:
    headers = {
        "Content-Type": "audio/wav",
        "X-Likeness-Job": "job_1",
        "X-Likeness-Figures": "complete",
        "X-Likeness-Real-Time-Factor": "0.25",
        "X-Likeness-Time-To-First-Audio-Ms": "180.5",
        "X-Likeness-Speaker-Similarity": "unmeasured",
    }
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"RIFFsound", headers)
    speech = client.speak("Hello", voice="juniper", speed=1.5, seed=7)
    assert (speech.audio, speech.content_type, speech.job_id) == (b"RIFFsound", "audio/wav", "job_1")
    assert speech.figures == likeness.SpeechFigures(0.25, 180.5, None)
    (asked,) = gateway.asked
    assert asked.json == {
        "input": "Hello",
        "voice": "juniper",
        "response_format": "wav",
        "speed": 1.5,
        "seed": 7,
    }


def test_streamed_speech_takes_its_figures_from_the_job(client: likeness.Client, gateway: ScriptedGateway) -> None:
    headers = {"Content-Type": "audio/mpeg", "X-Likeness-Job": "job_1", "X-Likeness-Figures": "first-chunk"}
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"sound" * 50_000, headers)
    figures = {"real_time_factor": 0.5, "ttfa_ms": 90.0, "speaker_similarity": 0.8}
    gateway.answers["GET /v1/jobs/job_1"] = json_answer({**JOB, "figures": figures})
    file = io.BytesIO()
    speech = client.speak("Hello", voice="juniper", format="mp3", to=file)
    assert file.getvalue() == b"sound" * 50_000
    assert speech.audio == b"" and speech.size_bytes == 250_000
    assert speech.figures == likeness.SpeechFigures(0.5, 90.0, 0.8)


def test_waits_for_a_job(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["GET /v1/jobs/job_1"] = json_answer({**JOB, "status": "processing"})
    assert client.jobs.wait("job_1", timeout_s=0.3).status == "processing"
    assert len(gateway.asked) >= 3


def test_swap_fetches_the_picture(client: likeness.Client, gateway: ScriptedGateway) -> None:
    faces = [{"box": {}, "distance_to_source": 0.4, "distance_to_target": 0.7}]
    gateway.answers["POST /v1/swaps"] = json_answer(
        {"id": "job_1", "status": "succeeded", "media": "media_1", "figures": {"faces": faces, "seconds": 0.2}}, 201
    )
    gateway.answers["GET /v1/media/media_1"] = Answer(200, b"png", {"Content-Type": "image/png"})
    swap = client.swap(face="face_1", target=b"picture", selection="all", feather=0.1)
    assert (swap.picture, swap.content_type, swap.faces) == (b"png", "image/png", tuple(faces))
    body = gateway.asked[0].body
    assert b'name="feather"\r\n\r\n0.1' in body and b"shape_strength" not in body


def test_a_problem_becomes_an_error_with_all_it_says(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["POST /v1/audio/speech"] = problem(
        429, "Too many requests are waiting", "Try again later.", "QUEUE_FULL", retry_after="3"
    )
    with pytest.raises(likeness.LikenessAPIError) as caught:
        client.speak("Hello", voice="juniper")
    error = caught.value
    assert (error.status, error.title, error.detail) == (429, "Too many requests are waiting", "Try again later.")
    assert (error.reason, error.field, error.retry_after_s, error.request_id) == ("QUEUE_FULL", "voice", 3.0, "req-1")
    assert str(error) == "Too many requests are waiting: Try again later."


def test_an_error_page_of_a_proxy_is_told_too(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["GET /v1/jobs/job_1"] = Answer(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"})
    with pytest.raises(likeness.LikenessAPIError, match="HTTP 502 Bad Gateway: <h1>Bad gateway</h1>"):
        client.jobs.get("job_1")


def test_something_else_than_a_gateway(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["GET /v1/jobs/job_1"] = Answer(200, b"<html>", {"Content-Type": "text/html"})
    with pytest.raises(likeness.LikenessClientError, match="is .* a Likeness gateway"):
        client.jobs.get("job_1")


def test_a_broken_connection_is_no_short_audio(client: likeness.Client, gateway: ScriptedGateway) -> None:
    gateway.answers["POST /v1/audio/speech"] = Answer(200, b"RIFF", {"Content-Type": "audio/wav"}, truncated=True)
    with pytest.raises(likeness.LikenessConnectionError):
        client.speak("Hello", voice="juniper")


def test_nobody_there() -> None:
    with (
        likeness.Client("http://127.0.0.1:1", timeout=2) as client,
        pytest.raises(likeness.LikenessConnectionError, match="likeness up"),
    ):
        client.voices.list()
