"""Consents, voices, faces, swaps, media: what is accepted, what is refused, and how the refusal is told."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from services.common.audio import SAMPLE_RATE_HZ
from services.common.decode import decode_picture
from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, portrait, sine

VOICE_CONSENTS = "/v1/audio/voice_consents"
FACE_CONSENTS = "/v1/face_consents"
RECORDING = encode_audio(sine(180.0, 2.0), "wav")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("gateway-resources"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    made = create_app(GatewaySettings(data_dir=stages.data_dir, **stages.targets()))
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


def consent(client: FlaskClient, path: str = VOICE_CONSENTS, **fields: Any) -> dict[str, Any]:
    body = {"who": "A sine", "kind": "synthetic", "evidence": "made by this test", **fields}
    response = client.post(path, json=body)
    assert response.status_code == 201, response.text
    return response.get_json()  # type: ignore[no-any-return]


def enrol(
    client: FlaskClient, name: str, consent_id: str | None, *clips: bytes, field: str = "audio_sample"
) -> TestResponse:
    files = [(io.BytesIO(clip), f"clip{number}.wav") for number, clip in enumerate(clips or (RECORDING,))]
    data: dict[str, Any] = {"name": name, field: files}
    if consent_id is not None:
        data["consent"] = consent_id
    return client.post("/v1/audio/voices", data=data)


def enrol_face(client: FlaskClient, picture: bytes, consent_id: str, **fields: Any) -> TestResponse:
    data = {"picture": (io.BytesIO(picture), "face.png"), "consent": consent_id, **fields}
    return client.post("/v1/faces", data=data)


def problem(response: TestResponse, status: int, reason: str, field: str | None = None) -> dict[str, Any]:
    """Asserts that the response is this problem, in both of its shapes."""
    body: dict[str, Any] = response.get_json()
    assert response.content_type == "application/problem+json"
    assert (response.status_code, body["reason"], body["field"]) == (status, reason, field), body
    assert body["status"] == status
    assert body["type"] == "/problems/" + reason.lower().replace("_", "-")
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["error"] == {
        "message": body["detail"],
        "code": reason.lower(),
        "param": field,
        "type": body["error"]["type"],
    }
    return body


# --- consent ---


def test_consent_is_kept_as_it_was_recorded(client: FlaskClient) -> None:
    made = consent(client, kind="attested", attested_by="Bea", expires_at="2099-01-02T03:04:05+01:00")
    assert made["state"] == "live"
    assert made["expires_at"] == "2099-01-02T02:04:05Z"
    assert made["uses"] == ["speech"]
    assert made["object"] == "audio.voice_consent"
    assert client.get(f"{VOICE_CONSENTS}/{made['id']}").get_json() == made
    assert client.get(VOICE_CONSENTS).get_json()["data"][0] == made


def test_attested_consent_needs_the_name_of_who_attests(client: FlaskClient) -> None:
    body = {"who": "Ada", "kind": "attested", "evidence": "paper"}
    problem(client.post(VOICE_CONSENTS, json=body), 400, "INVALID_FIELD", "attested_by")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("who", ""),
        ("who", "  "),
        ("who", "a\u0000b"),
        ("who", "\ud800"),
        ("kind", "verbal"),
        ("uses", []),
        ("uses", ["dance"]),
        ("expires_at", "tomorrow"),
        ("expires_at", 12345),
        ("expires_at", "2099-01-01T00:00:00"),
        ("surprise", 1),
    ],
)
def test_invalid_field_of_a_consent_is_named(client: FlaskClient, field: str, value: Any) -> None:
    body = {"who": "Ada", "kind": "synthetic", "evidence": "code", field: value}
    told = problem(client.post(VOICE_CONSENTS, json=body), 400, "INVALID_FIELD", told_field(field, value))
    assert told["errors"][0]["field"] == told_field(field, value)


def told_field(field: str, value: Any) -> str:
    return f"{field}.0" if value == ["dance"] else field


def test_revoking_is_final_and_idempotent(client: FlaskClient) -> None:
    made = consent(client)
    revoked = client.post(f"{VOICE_CONSENTS}/{made['id']}/revoke").get_json()
    assert revoked["state"] == "revoked"
    assert client.post(f"{VOICE_CONSENTS}/{made['id']}/revoke").get_json() == revoked


def test_consents_of_voices_and_faces_are_apart(client: FlaskClient) -> None:
    of_face = consent(client, FACE_CONSENTS)
    problem(client.get(f"{VOICE_CONSENTS}/{of_face['id']}"), 404, "NOT_FOUND")
    problem(client.post(f"{VOICE_CONSENTS}/{of_face['id']}/revoke"), 404, "NOT_FOUND")
    problem(enrol(client, "borrowed", of_face["id"]), 403, "CONSENT_REQUIRED", "consent")
    of_voice = consent(client)
    problem(enrol_face(client, portrait(), of_voice["id"]), 403, "CONSENT_REQUIRED", "consent")


def test_lists_are_pages_newest_first(client: FlaskClient) -> None:
    ids = [consent(client, FACE_CONSENTS)["id"] for _ in range(5)]
    first = client.get(f"{FACE_CONSENTS}?limit=2").get_json()
    assert [item["id"] for item in first["data"]] == ids[:-3:-1]
    assert first["has_more"] is True
    second = client.get(f"{FACE_CONSENTS}?limit=3&after={first['last_id']}").get_json()
    assert [item["id"] for item in second["data"]] == ids[-3::-1]
    problem(client.get(f"{FACE_CONSENTS}?limit=0"), 400, "INVALID_FIELD", "limit")


# --- nothing without consent ---


def test_no_consent_no_voice(client: FlaskClient) -> None:
    problem(enrol(client, "nobody", None), 403, "CONSENT_REQUIRED", "consent")
    problem(enrol(client, "nobody", "cons_unknown"), 403, "CONSENT_REQUIRED", "consent")


def test_consent_for_another_use_is_none(client: FlaskClient) -> None:
    other_use = consent(client, uses=["swap"])
    problem(enrol(client, "nobody", other_use["id"]), 403, "CONSENT_REQUIRED", "consent")


def test_expired_consent_is_refused(client: FlaskClient) -> None:
    expired = consent(client, expires_at="2020-01-01T00:00:00Z")
    assert expired["state"] == "expired"
    problem(enrol(client, "late", expired["id"]), 403, "CONSENT_NOT_LIVE", "consent")


def test_revocation_stops_the_use_of_an_enrolled_voice(client: FlaskClient) -> None:
    made = consent(client)
    assert enrol(client, "fickle", made["id"]).status_code == 201
    request = {"input": "Hello there.", "voice": "fickle"}
    assert client.post("/v1/audio/speech", json=request).status_code == 200
    client.post(f"{VOICE_CONSENTS}/{made['id']}/revoke")
    problem(client.post("/v1/audio/speech", json=request), 403, "CONSENT_NOT_LIVE", "voice")


def test_revocation_stops_the_use_of_an_enrolled_face(client: FlaskClient) -> None:
    made = consent(client, FACE_CONSENTS)
    assert enrol_face(client, portrait(), made["id"], name="shy").status_code == 201
    client.post(f"{FACE_CONSENTS}/{made['id']}/revoke")
    data = {"face": "shy", "target": (io.BytesIO(portrait(90)), "t.png")}
    problem(client.post("/v1/swaps", data=data), 403, "CONSENT_NOT_LIVE", "face")


# --- voices ---


def test_voice_is_enrolled_shown_and_deleted(client: FlaskClient) -> None:
    made = enrol(client, "Clara", consent(client)["id"]).get_json()
    assert made["quality"]["speech_seconds"] == pytest.approx(2.0, abs=0.01)
    assert client.get("/v1/audio/voices/Clara").get_json() == made
    assert client.get(f"/v1/audio/voices/{made['id']}").get_json() == made
    assert made in client.get("/v1/audio/voices").get_json()["data"]
    sample = client.get(f"/v1/media/{made['sample_media']}")
    assert sample.content_type == "audio/flac"
    gone = client.delete("/v1/audio/voices/Clara").get_json()
    assert gone == {"id": made["id"], "object": "audio.voice.deleted", "deleted": True}
    problem(client.get(f"/v1/audio/voices/{made['id']}"), 404, "NOT_FOUND")
    problem(client.get(f"/v1/media/{made['sample_media']}"), 404, "NOT_FOUND")


def test_deleted_voice_leaves_no_object_behind(client: FlaskClient, app: Any) -> None:
    store = app.extensions["likeness"].store
    before = [stored.key for stored in store.list("media/")]
    made = enrol(client, "fleeting", consent(client)["id"]).get_json()
    client.delete(f"/v1/audio/voices/{made['id']}")
    assert [stored.key for stored in store.list("media/")] == before


def test_several_clips_are_joined_and_file_is_another_name(client: FlaskClient) -> None:
    clips = (encode_audio(sine(180.0, 1.0), "flac"), encode_audio(sine(180.0, 1.5), "mp3"))
    made = enrol(client, "patchwork", consent(client)["id"], *clips, field="file").get_json()
    assert made["quality"]["total_seconds"] == pytest.approx(2.5, abs=0.15)


def test_a_clip_of_somebody_else_is_left_out_and_reported(client: FlaskClient) -> None:
    """Three clips of a voice of 180 Hz, one of a voice of 300 Hz, and one that is too short to be judged."""
    pitches = ((180.0, 1.2), (300.0, 1.2), (181.0, 1.2), (180.0, 0.3), (179.0, 1.2))
    clips = [encode_audio(sine(pitch_hz, seconds), "flac") for pitch_hz, seconds in pitches]
    made = enrol(client, "quintet", consent(client)["id"], *clips).get_json()
    told = made["quality"]["clips"]
    assert [clip["number"] for clip in told] == [1, 2, 3, 4, 5]
    assert [clip["used"] for clip in told] == [True, False, True, True, True]
    assert told[1]["similarity"] < 0.5 < 0.9 < told[0]["similarity"]
    assert told[3]["similarity"] is None
    assert made["quality"]["total_seconds"] == pytest.approx(3 * 1.2 + 0.3, abs=0.02)
    assert any("Clip 2" in advice for advice in made["quality"]["advice"])
    sample = decode_audio(client.get(f"/v1/media/{made['sample_media']}").data, field="sample").samples
    assert sample.size / SAMPLE_RATE_HZ == pytest.approx(3 * 1.2 + 0.3, abs=0.02)  # nothing of the other is kept
    alone = enrol(client, "solo", consent(client)["id"], clips[0]).get_json()
    assert alone["quality"]["clips"] == [{"number": 1, "seconds": 1.2, "similarity": None, "used": True}]


@pytest.mark.parametrize("pitches", [(180.0, 300.0), (300.0, 180.0, 181.0, 301.0)])
def test_clips_that_split_evenly_are_refused_by_their_numbers(client: FlaskClient, pitches: tuple[float, ...]) -> None:
    clips = [encode_audio(sine(pitch_hz, 1.2), "flac") for pitch_hz in pitches]
    refused = enrol(client, "duel", consent(client)["id"], *clips)
    told = problem(refused, 422, "SPEAKER_MISMATCH", "audio_sample")
    sides = ("1", "2") if len(pitches) == 2 else ("1 and 4", "2 and 3")
    assert all(side in told["detail"] for side in sides)
    problem(client.get("/v1/audio/voices/duel"), 404, "NOT_FOUND")


def test_a_name_is_taken_once(client: FlaskClient) -> None:
    live = consent(client)["id"]
    assert enrol(client, "unique", live).status_code == 201
    problem(enrol(client, "unique", live), 409, "ALREADY_EXISTS", "name")


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "MEDIA_EMPTY"),
        (b"this is not audio at all", 415, "MEDIA_UNSUPPORTED"),
        (portrait(), 415, "MEDIA_UNSUPPORTED"),
        (cut_off(RECORDING), 422, "MEDIA_UNREADABLE"),
        (RECORDING[:44], 422, "MEDIA_UNREADABLE"),
        (b"fLaC" + bytes(2000), 422, "MEDIA_UNREADABLE"),
        (encode_audio(sine(180.0, 0.4), "wav"), 422, "SPEECH_TOO_SHORT"),
        (encode_audio(np.zeros(32000, np.float32), "wav"), 422, "SPEECH_TOO_SHORT"),
    ],
    ids=["empty", "garbage", "a picture named .wav", "cut off", "only a header", "mislabelled", "too short", "silence"],
)
def test_bad_recording_is_a_problem_that_names_the_fault(
    client: FlaskClient, data: bytes, status: int, reason: str
) -> None:
    problem(enrol(client, "never", consent(client)["id"], data), status, reason, "audio_sample")
    problem(client.get("/v1/audio/voices/never"), 404, "NOT_FOUND")


def test_the_bad_one_of_several_clips_is_named(client: FlaskClient) -> None:
    told = problem(enrol(client, "x", consent(client)["id"], RECORDING, b"?"), 415, "MEDIA_UNSUPPORTED", "audio_sample")
    assert told["detail"].startswith("Clip 2:")


def test_missing_recording_is_named(client: FlaskClient) -> None:
    data = {"name": "silent", "consent": consent(client)["id"]}
    problem(client.post("/v1/audio/voices", data=data), 400, "INVALID_FIELD", "audio_sample")
    problem(client.post("/v1/audio/voices", data=data | {"audio_sample": "text"}), 400, "INVALID_FIELD", "audio_sample")


def test_calibration_can_be_turned_off(stages: FakeStages, tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path, calibrate=False, **stages.targets(tmp_path))
    uncalibrated = create_app(settings).test_client()
    made = enrol(uncalibrated, "plain", consent(uncalibrated)["id"]).get_json()
    assert (made["calibration"], made["similarity"], made["formant_warp"]) == (None, None, 1.0)
    spoken = uncalibrated.post("/v1/audio/speech", json={"input": "Hello.", "voice": "plain", "stream": True})
    assert spoken.headers["X-Likeness-Speaker-Similarity"] == "unmeasured"
    spoken.close()


# --- speech requests that are refused ---


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", ""),
        ("input", "x" * 4097),
        ("speed", 0.2),
        ("speed", 4.1),
        ("speed", "fast"),
        ("response_format", "ogg"),
        ("stream_format", "video"),
        ("seed", -1),
        ("seed", 2**64),
        ("pitch_shift", 13),
        ("vocoder", "steam"),
        ("instructions", "Whisper."),
    ],
)
def test_invalid_field_of_a_speech_is_named(client: FlaskClient, field: str, value: Any) -> None:
    body = {"input": "Hello.", "voice": "unique", field: value}
    problem(client.post("/v1/audio/speech", json=body), 400, "INVALID_FIELD", field)


def test_longest_input_is_accepted(client: FlaskClient) -> None:
    enrol(client, "patient", consent(client)["id"])
    text = ("word " * 820)[:4096]
    assert len(text) == 4096
    with client.post("/v1/audio/speech", json={"input": text, "voice": "patient", "speed": 4.0}) as response:
        assert response.status_code == 200
        assert len(response.data) > 0


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"a":' + b"[" * 100_000])
def test_unreadable_json_is_malformed(client: FlaskClient, body: bytes) -> None:
    response = client.post("/v1/audio/speech", data=body, content_type="application/json")
    problem(response, 400, "REQUEST_MALFORMED")


# --- faces and swaps ---


def test_face_is_enrolled_shown_and_deleted(client: FlaskClient) -> None:
    made = enrol_face(client, portrait(), consent(client, FACE_CONSENTS)["id"], name="Dora").get_json()
    assert made["box"] == {"left": 24.0, "top": 24.0, "width": 48.0, "height": 48.0}
    assert client.get("/v1/faces/Dora").get_json() == made
    assert client.get(f"/v1/media/{made['picture_media']}").data == portrait()
    assert client.delete(f"/v1/faces/{made['id']}").get_json()["deleted"] is True
    problem(client.get("/v1/faces/Dora"), 404, "NOT_FOUND")
    problem(client.get(f"/v1/media/{made['picture_media']}"), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"", 422, "MEDIA_EMPTY"),
        (b"no picture", 415, "MEDIA_UNSUPPORTED"),
        (RECORDING, 415, "MEDIA_UNSUPPORTED"),
        (portrait()[:60], 422, "MEDIA_UNREADABLE"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "MEDIA_UNREADABLE"),
        (portrait(10), 422, "FACE_NOT_FOUND"),
    ],
    ids=["empty", "garbage", "audio named .png", "cut off", "mislabelled", "no face"],
)
def test_bad_picture_is_a_problem_that_names_the_fault(
    client: FlaskClient, data: bytes, status: int, reason: str
) -> None:
    live = consent(client, FACE_CONSENTS)["id"]
    problem(enrol_face(client, data, live), status, reason, "picture")
    enrol_face(client, portrait(), live, name="model")
    swap = client.post("/v1/swaps", data={"face": "model", "target": (io.BytesIO(data), "target.png")})
    problem(swap, status, reason, "target")


@pytest.mark.parametrize("container", ["png", "jpeg", "webp"])
def test_swap_puts_the_source_onto_the_target(client: FlaskClient, container: str) -> None:
    name = f"source-{container}"
    face = enrol_face(client, portrait(200), consent(client, FACE_CONSENTS)["id"], name=name).get_json()
    data = {"face": name, "target": (io.BytesIO(portrait(80)), "t.png"), "format": container, "selection": "all"}
    response = client.post("/v1/swaps", data=data)
    made = response.get_json()
    assert response.status_code == 201, made
    assert (made["status"], made["face"]) == ("succeeded", face["id"])
    assert made["figures"]["faces"][0]["distance_to_source"] == pytest.approx(0.4)
    assert made["figures"]["faces"][0]["distance_to_target"] is None
    result = client.get(made["media_url"])
    assert result.content_type == f"image/{container}"
    pixels = decode_picture(result.data)
    # Means: the mark, whose key is another in each run, moves single pixels by more.
    assert abs(pixels[32:64, 32:64].mean() - 200) <= 3
    assert abs(pixels[:16, :16].mean() - 80) <= 3
    assert client.get(f"/v1/swaps/{made['id']}").get_json() == made
    job = client.get(f"/v1/jobs/{made['id']}").get_json()
    assert (job["kind"], job["status"], job["media"]) == ("swap", "succeeded", made["media"])


def test_swap_onto_media_that_are_here(client: FlaskClient) -> None:
    live = consent(client, FACE_CONSENTS)["id"]
    enrol_face(client, portrait(200), live, name="reused")
    first = client.post("/v1/swaps", data={"face": "reused", "target": (io.BytesIO(portrait(80)), "t.png")}).get_json()
    again = client.post("/v1/swaps", data={"face": "reused", "target_media": first["target_media"]}).get_json()
    assert again["target_media"] == first["target_media"]
    pictures = [decode_picture(client.get(swap["media_url"]).data).astype(int) for swap in (first, again)]
    assert abs(pictures[0] - pictures[1]).max() < 25, "the same, but for the marks"


def test_swap_parameters_reach_the_stage(client: FlaskClient, stages: FakeStages) -> None:
    enrol_face(client, portrait(), consent(client, FACE_CONSENTS)["id"], name="tuned")
    data = {"face": "tuned", "target": (io.BytesIO(portrait(80)), "t.png"), "shape_strength": "0.25", "feather": "0.1"}
    assert client.post("/v1/swaps", data=data).status_code == 201
    options = stages.doings.swaps[-1].options
    assert options.shape_strength == pytest.approx(0.25)
    assert options.feather == pytest.approx(0.1)


def test_large_pictures_travel_by_reference(client: FlaskClient, stages: FakeStages, app: Any) -> None:
    noise = np.random.default_rng(1).integers(60, 255, (900, 900, 3), dtype=np.uint8)
    large = cv2.imencode(".png", noise)[1].tobytes()
    assert len(large) > 1024 * 1024
    made = enrol_face(client, large, consent(client, FACE_CONSENTS)["id"], name="large")
    assert made.status_code == 201, made.text
    swap = client.post("/v1/swaps", data={"face": "large", "target": (io.BytesIO(large), "t.png")})
    assert swap.status_code == 201, swap.text
    request = stages.doings.swaps[-1]
    (source,) = request.assignments[0].sources
    assert source.WhichOneof("content") == request.target.WhichOneof("content") == "media"
    leftovers = [stored.key for stored in app.extensions["likeness"].store.list("work/")]
    assert leftovers == [], "working copies are deleted"


@pytest.mark.parametrize(
    ("fields", "status", "reason", "field"),
    [
        ({"target_media": "media_unknown"}, 404, "NOT_FOUND", "target_media"),
        ({}, 400, "INVALID_FIELD", "target"),
        ({"shape_strength": "2"}, 400, "INVALID_FIELD", "shape_strength"),
        ({"selection": "two"}, 400, "INVALID_FIELD", "selection"),
        ({"format": "bmp"}, 400, "INVALID_FIELD", "format"),
        ({"face": None}, 400, "INVALID_FIELD", "form_and_files"),
    ],
)
def test_refused_swap_names_the_field(
    client: FlaskClient, fields: dict[str, str | None], status: int, reason: str, field: str
) -> None:
    if client.get("/v1/faces/asked").status_code == 404:
        enrol_face(client, portrait(), consent(client, FACE_CONSENTS)["id"], name="asked")
    sent = {name: value for name, value in {"face": "asked", **fields}.items() if value is not None}
    problem(client.post("/v1/swaps", data=sent), status, reason, field)


def test_failed_swap_is_in_the_job_list(client: FlaskClient) -> None:
    enrol_face(client, portrait(), consent(client, FACE_CONSENTS)["id"], name="unlucky")
    client.post("/v1/swaps", data={"face": "unlucky", "target": (io.BytesIO(portrait(5)), "t.png")})
    job = client.get("/v1/jobs?limit=1").get_json()["data"][0]
    assert (job["status"], job["error"]["reason"], job["error"]["field"]) == ("failed", "FACE_NOT_FOUND", "target")


# --- media ---


@pytest.fixture
def picture_media(client: FlaskClient) -> str:
    made = enrol_face(client, portrait(), consent(client, FACE_CONSENTS)["id"]).get_json()
    return f"/v1/media/{made['picture_media']}"


def test_media_answer_range_requests(client: FlaskClient, picture_media: str) -> None:
    data = portrait()
    part = client.get(picture_media, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, data[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(data)}"
    tail = client.get(picture_media, headers={"Range": "bytes=-7"})
    assert tail.data == data[-7:]
    beyond = client.get(picture_media, headers={"Range": f"bytes={len(data)}-"})
    problem(beyond, 416, "RANGE_NOT_SATISFIABLE")
    assert beyond.headers["Content-Range"] == f"bytes */{len(data)}"


def test_media_have_an_entity_tag(client: FlaskClient, picture_media: str) -> None:
    whole = client.get(picture_media)
    assert client.get(picture_media, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert whole.headers["X-Content-Type-Options"] == "nosniff"


def test_changed_file_is_not_handed_out(client: FlaskClient, picture_media: str, app: Any) -> None:
    gateway = app.extensions["likeness"]
    key = next(
        stored.key for stored in gateway.store.list("media/local/") if picture_media.split("/")[-1] in stored.key
    )
    gateway.store.put(key, b"something else", "image/png")
    problem(client.get(picture_media), 409, "MEDIA_CHECKSUM_MISMATCH", "media")


# --- the rest ---


def test_unknown_routes_and_methods_are_problems(client: FlaskClient) -> None:
    problem(client.get("/v1/nothing"), 404, "NOT_FOUND")
    refused = client.put("/v1/audio/voices")
    problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert set(refused.headers["Allow"].split(", ")) >= {"GET", "POST"}


def test_body_over_the_limit_is_a_problem(stages: FakeStages, tmp_path: Path) -> None:
    small = create_app(
        GatewaySettings(data_dir=tmp_path, max_upload_bytes=1000, **stages.targets(tmp_path))
    ).test_client()
    problem(enrol(small, "big", "cons_x"), 413, "MEDIA_TOO_LARGE")


def test_pages_of_other_sites_are_not_served(client: FlaskClient) -> None:
    body = {"who": "x", "kind": "synthetic", "evidence": "y"}
    foreign = client.post(VOICE_CONSENTS, json=body, headers={"Origin": "https://evil.example"})
    problem(foreign, 403, "ORIGIN_REFUSED")
    assert client.post(VOICE_CONSENTS, json=body, headers={"Origin": "http://localhost"}).status_code == 201
    rebound = client.get("/v1/audio/voices", headers={"Host": "evil.example"})
    assert rebound.status_code == 400


def test_request_id_of_the_caller_is_kept_when_harmless(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    forged = client.get("/healthz", headers={"X-Request-Id": "a b"}).headers["X-Request-Id"]
    assert forged != "a b"


def test_ready_when_all_stages_serve(client: FlaskClient) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert {name for name, check in response.get_json()["checks"].items() if check["ok"]} == {
        "database",
        "store",
        "encoder",
        "synthesizer",
        "vocoder",
        "faceswap",
    }


@pytest.mark.parametrize("path", ["/", "/live", "/verify", "/docs"])
def test_pages_need_nothing_from_elsewhere(client: FlaskClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for name in ("style.css", "app.js", "swap.js", "live.js", "docs.js"):
        asset = client.get(f"/web/{name}")
        assert asset.status_code == 200
        assert "http://" not in asset.text.replace("http://www.w3.org", "")
        assert "https://" not in asset.text
    assert "https://" not in page.text


def test_problem_types_can_be_looked_up(client: FlaskClient) -> None:
    told = client.get("/v1/audio/voices/none").get_json()
    page = client.get(told["type"])
    assert page.status_code == 200
    assert told["title"] in page.text


def test_openapi_names_every_reason_that_a_voice_can_fail_with(client: FlaskClient) -> None:
    spec = client.get("/openapi.json").get_json()
    told = json.dumps(spec["paths"]["/v1/audio/voices"]["post"]["responses"])
    for reason in ("consent-required", "consent-not-live", "media-unreadable", "speech-too-short", "queue-full"):
        assert f"/problems/{reason}" in told
