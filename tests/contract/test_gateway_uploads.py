"""Large files: announced, sent in parts, gone on with after an interruption, completed; on the folder and on S3."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.db.models import utc_now
from services.gateway.settings import GatewaySettings
from services.gateway.sweeping import sweep_orphans, sweep_uploads
from tests.contract.gateway_fake_faces import film
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.contract.gateway_worker import worker_inside
from tests.object_stores import s3_settings
from tests.waiting import wait_for

PART = 5 * 1024 * 1024
KEY = f"lk_{'0' * 12}_{'a' * 43}"
FILM = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 45_000  # a beginning like a film's; three parts


@pytest.fixture(scope="module", params=["folder", "s3"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp(f"gateway-uploads-{request.param}")
    store: dict[str, Any] = s3_settings() if request.param == "s3" else {}
    stages = FakeStages(folder, store=store)
    made = create_app(
        GatewaySettings(data_dir=folder, upload_part_bytes=PART, max_upload_bytes=200_000, **store, **stages.targets())
    )
    yield made
    made.extensions["likeness"].close()
    stages.close()


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


@pytest.fixture
def gateway(app: Any) -> Gateway:
    return app.extensions["likeness"]  # type: ignore[no-any-return]


def begin(client: FlaskClient, data: bytes, **fields: Any) -> dict[str, Any]:
    body = {"file_name": "film.mp4", "size_bytes": len(data), **fields}
    response = client.post("/v1/uploads", json=body)
    assert response.status_code == 201, response.text
    return response.get_json()  # type: ignore[no-any-return]


def put(client: FlaskClient, url: str, data: bytes) -> int:
    """Sends a part as anybody would who has nothing but the URL."""
    parts = urlsplit(url)
    if parts.path.startswith("/v1/"):
        return client.put(f"{parts.path}?{parts.query}", data=data).status_code
    return httpx.put(url, content=data, trust_env=False, timeout=60).status_code


def send(client: FlaskClient, upload: dict[str, Any], data: bytes, *numbers: int) -> None:
    size = upload["part_size_bytes"]
    for part in upload["parts"]:
        if not numbers or part["number"] in numbers:
            start = (part["number"] - 1) * size
            assert put(client, part["url"], data[start : start + part["size_bytes"]]) in (200, 204)


def complete(client: FlaskClient, upload: dict[str, Any]) -> TestResponse:
    return client.post(f"/v1/uploads/{upload['id']}/complete")


def reason(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["reason"]


def keys(gateway: Gateway) -> set[str]:
    return {item.key for prefix in ("media/", "uploads/") for item in gateway.store.keys(prefix)}


def test_a_large_file_arrives_in_parts(client: FlaskClient, gateway: Gateway) -> None:
    upload = begin(client, FILM, sha256=hashlib.sha256(FILM).hexdigest(), file_name="Übung 1.mp4")
    assert [part["size_bytes"] for part in upload["parts"]] == [PART, PART, len(FILM) - 2 * PART]
    assert (upload["status"], upload["media"], upload["received_bytes"]) == ("open", None, 0)
    send(client, upload, FILM)
    done = complete(client, upload).get_json()
    assert (done["status"], done["received_bytes"], done["parts"]) == ("completed", len(FILM), [])
    got = client.get(f"/v1/media/{done['media']}")
    assert (got.data, got.content_type) == (FILM, "video/mp4")
    info = client.get(f"/v1/media/{done['media']}/info").get_json()
    assert (info["file_name"], info["purpose"], info["sha256"]) == (
        "Übung 1.mp4",
        "upload",
        hashlib.sha256(FILM).hexdigest(),
    )
    assert not [key for key in keys(gateway) if key.startswith("uploads/")]
    assert client.get(f"/v1/uploads/{upload['id']}").get_json() == done
    assert client.get("/v1/uploads").get_json()["data"][0] == done


def test_an_interrupted_upload_goes_on_with_what_is_missing(client: FlaskClient) -> None:
    upload = begin(client, FILM)
    send(client, upload, FILM, 3, 1)
    missing = complete(client, upload)
    assert reason(missing) == (409, "UPLOAD_INCOMPLETE")
    assert "1 of 3 parts are missing or have a wrong size: 2." in missing.get_json()["detail"]
    later = client.get(f"/v1/uploads/{upload['id']}").get_json()
    assert [(part["number"], part["received"], part["url"] is None) for part in later["parts"]] == [
        (1, True, True),
        (2, False, False),
        (3, True, True),
    ]
    assert later["received_bytes"] == len(FILM) - PART
    send(client, later, FILM, 2)
    done = complete(client, upload).get_json()
    assert done["sha256"] == hashlib.sha256(FILM).hexdigest()


def test_a_part_of_the_wrong_size_does_not_count(client: FlaskClient) -> None:
    data = FILM[:1000]
    upload = begin(client, data)
    (part,) = upload["parts"]
    assert put(client, part["url"], data + b"x") in (200, 422)
    shown = client.get(f"/v1/uploads/{upload['id']}").get_json()["parts"]
    assert [part["received"] for part in shown] == [False]
    assert reason(complete(client, upload)) == (409, "UPLOAD_INCOMPLETE")
    assert put(client, part["url"], data) in (200, 204)
    assert complete(client, upload).status_code == 200


def test_what_is_not_what_was_announced_ends_the_upload(client: FlaskClient, gateway: Gateway) -> None:
    before = keys(gateway)
    upload = begin(client, FILM[:1000], sha256="0" * 64)
    send(client, upload, FILM[:1000])
    assert reason(complete(client, upload)) == (422, "UPLOAD_MISMATCH")
    assert reason(complete(client, upload)) == (410, "UPLOAD_ENDED")
    assert client.get(f"/v1/uploads/{upload['id']}").get_json()["status"] == "aborted"
    assert keys(gateway) == before


@pytest.mark.parametrize(
    ("purpose", "content", "kind"),
    [
        ("swap_target", portrait(), "image/png"),
        ("face_picture", portrait(), "image/png"),
        ("face_picture", FILM[:100], None),
        ("voice_sample", encode_audio(sine(200.0, 1.0), "mp3"), "audio/mpeg"),
        ("voice_sample", encode_audio(sine(200.0, 1.0), "opus"), "audio/ogg"),
        ("voice_sample", encode_audio(sine(200.0, 1.0), "aac"), "audio/aac"),
        ("voice_sample", encode_audio(sine(200.0, 1.0), "flac"), "audio/flac"),
        ("voice_sample", portrait(), None),
        ("batch_input", b'{"custom_id": "1"}\n', "application/jsonl"),
        ("swap_target", b"<html><script>alert(1)</script>", None),
    ],
)
def test_the_kind_is_found_by_content_and_must_serve_the_purpose(
    client: FlaskClient, purpose: str, content: bytes, kind: str | None
) -> None:
    upload = begin(client, content, purpose=purpose)
    send(client, upload, content)
    done = complete(client, upload)
    if kind is None:
        assert reason(done) == (415, "MEDIA_UNSUPPORTED")
    else:
        media = done.get_json()["media"]
        assert client.get(f"/v1/media/{media}/info").get_json()["content_type"] == kind


def test_completing_at_the_same_time_makes_one_media(app: Any, client: FlaskClient, gateway: Gateway) -> None:
    before = keys(gateway)
    upload = begin(client, FILM)
    send(client, upload, FILM)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: complete(app.test_client(), upload), range(4)))
    # The S3 server of these tests breaks off where two complete an upload in the same instant: 503, to be asked again.
    answers = [complete(client, upload) if answer.status_code == 503 else answer for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 4
    (media,) = {answer.get_json()["media"] for answer in answers}
    assert client.get(f"/v1/media/{media}").data == FILM
    assert len(keys(gateway) - before) == 1


def test_completing_goes_on_after_a_crash(
    client: FlaskClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies when the parts are one object already, and again before the record is written."""
    upload = begin(client, FILM)
    send(client, upload, FILM)

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    for target, name in ((type(gateway.store), "copy"), (type(gateway.database), "session")):
        with monkeypatch.context() as patch:
            if name == "copy":
                patch.setattr(target, name, die)
            else:
                patch.setattr("services.gateway.large_uploads.media_record", die)
            with pytest.raises(Killed):
                complete(client, upload)
    assert client.get(f"/v1/uploads/{upload['id']}").get_json()["status"] == "completing"
    done = complete(client, upload).get_json()
    assert client.get(f"/v1/media/{done['media']}").data == FILM


def test_an_aborted_upload_leaves_nothing(client: FlaskClient, gateway: Gateway) -> None:
    before = keys(gateway)
    upload = begin(client, FILM)
    send(client, upload, FILM, 1)
    assert client.delete(f"/v1/uploads/{upload['id']}").get_json()["status"] == "aborted"
    assert client.delete(f"/v1/uploads/{upload['id']}").get_json()["status"] == "aborted"
    assert reason(complete(client, upload)) == (410, "UPLOAD_ENDED")
    assert put(client, upload["parts"][1]["url"], FILM[PART : 2 * PART]) in (410, 404, 500)  # moto: 500
    assert keys(gateway) == before


def test_an_expired_upload_is_swept(client: FlaskClient, gateway: Gateway) -> None:
    upload = begin(client, FILM)
    send(client, upload, FILM, 1)
    assert sweep_uploads(gateway) == 0
    assert sweep_uploads(gateway, utc_now() + timedelta(days=1, minutes=1)) >= 1
    assert client.get(f"/v1/uploads/{upload['id']}").get_json()["status"] == "aborted"
    assert reason(complete(client, upload)) == (410, "UPLOAD_ENDED")
    sweep_uploads(gateway, utc_now() + timedelta(days=3))
    assert client.get(f"/v1/uploads/{upload['id']}").status_code == 404


def test_an_object_whose_upload_is_gone_is_swept(gateway: Gateway) -> None:
    gateway.store.put("uploads/local/upload_lost", b"x")
    sweep_orphans(gateway)
    assert gateway.store.exists("uploads/local/upload_lost"), "it may be about to be used"
    sweep_orphans(gateway, utc_now() + timedelta(hours=2))
    assert not gateway.store.exists("uploads/local/upload_lost")


def test_only_the_signed_url_works_and_not_for_ever(
    client: FlaskClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(client, FILM[:1000])
    url = urlsplit(upload["parts"][0]["url"])
    if not url.path.startswith("/v1/"):
        assert "X-Amz-Signature" in url.query
        return
    for query in (
        url.query.replace("expires=", "expires=1"),
        url.query[:-1] + ("0" if url.query[-1] != "0" else "1"),
        f"expires=1&{url.query.partition('&')[2]}",
    ):
        answer = client.put(f"{url.path}?{query}", data=FILM[:1000])
        assert reason(answer) == (403, "SIGNATURE_INVALID")
    other = begin(client, FILM[:1000])
    assert client.put(f"/v1/uploads/{other['id']}/parts/1?{url.query}", data=FILM[:1000]).status_code == 403
    assert client.put(url.path, data=FILM[:1000]).status_code == 400
    monkeypatch.setattr("services.gateway.signed_urls.time.time", lambda: 4e9)
    assert client.put(f"{url.path}?{url.query}", data=FILM[:1000]).status_code == 403


def test_part_urls_need_no_key_where_all_else_does(tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path, auth="keys", bootstrap_key=KEY)
    from services.gateway.accounts.bootstrap import make_bootstrap_key

    app = create_app(settings)
    make_bootstrap_key(app.extensions["likeness"])
    client, headers = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    body = {"file_name": "a.png", "size_bytes": len(portrait())}
    assert client.post("/v1/uploads", json=body).status_code == 401
    upload = client.post("/v1/uploads", json=body, headers=headers).get_json()
    assert put(client, upload["parts"][0]["url"], portrait()) == 204
    assert complete(client, upload).status_code == 401
    done = client.post(f"/v1/uploads/{upload['id']}/complete", headers=headers).get_json()
    signed = client.post(f"/v1/media/{done['media']}/url", headers=headers).get_json()["url"]
    url = urlsplit(signed)
    assert client.get(f"/v1/media/{done['media']}").status_code == 401
    assert client.get(f"{url.path}?{url.query}").data == portrait()
    app.extensions["likeness"].close()


def test_where_the_store_is_out_of_reach_parts_go_through_the_gateway(tmp_path: Path) -> None:
    store = s3_settings(store_presign=False)
    app = create_app(GatewaySettings(data_dir=tmp_path, upload_part_bytes=PART, public_url="https://x.test", **store))
    client = app.test_client()
    upload = begin(client, FILM)
    assert all(part["url"].startswith("https://x.test/v1/uploads/") for part in upload["parts"])
    send(client, upload, FILM)
    media = complete(client, upload).get_json()["media"]
    assert client.get(f"/v1/media/{media}", headers={"Range": "bytes=-5"}).data == FILM[-5:]
    app.extensions["likeness"].close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file_name", ""),
        ("file_name", "../x"),
        ("file_name", ".."),
        ("file_name", "a\x00"),
        ("file_name", "x" * 201),
        ("size_bytes", 0),
        ("size_bytes", "7"),
        ("sha256", "ABC"),
        ("purpose", "speech"),
        ("surprise", 1),
    ],
)
def test_invalid_fields_are_named(client: FlaskClient, field: str, value: Any) -> None:
    answer = client.post("/v1/uploads", json={"file_name": "a.mp4", "size_bytes": 7, field: value})
    assert (reason(answer), answer.get_json()["field"]) == ((400, "INVALID_FIELD"), field)


def test_a_file_that_is_too_large_is_refused_at_once(client: FlaskClient) -> None:
    answer = client.post("/v1/uploads", json={"file_name": "a.mp4", "size_bytes": 2**31 + 1})
    assert (reason(answer), answer.get_json()["field"]) == ((413, "MEDIA_TOO_LARGE"), "size_bytes")


def upload_whole(client: FlaskClient, data: bytes, **fields: Any) -> str:
    upload = begin(client, data, **fields)
    send(client, upload, data)
    return str(complete(client, upload).get_json()["media"])


def test_uploads_become_voices_faces_and_targets(client: FlaskClient) -> None:
    """Also larger ones than a request may be."""
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
    recording = encode_audio(sine(180.0, 8.0), "wav")
    assert len(recording) > 200_000
    form = {"name": "Ada", "consent": consent, "audio_sample": (io.BytesIO(recording), "a.wav")}
    assert client.post("/v1/audio/voices", data=form).status_code == 413
    sample = upload_whole(client, recording, purpose="voice_sample", file_name="a.wav")
    form = {"name": "Ada", "consent": consent, "sample_media": sample}
    assert client.post("/v1/audio/voices", data=form).status_code == 201
    consent = client.post("/v1/face_consents", json=body).get_json()["id"]
    picture = upload_whole(client, portrait(), purpose="face_picture", file_name="a.png")
    face = client.post("/v1/faces", data={"name": "Bob", "consent": consent, "picture_media": picture})
    assert face.status_code == 201, face.text
    target = upload_whole(client, portrait(80), file_name="t.png")
    swap = client.post("/v1/swaps", data={"face": "Bob", "target_media": target})
    assert swap.status_code == 201, swap.text
    wrong = client.post("/v1/faces", data={"name": "Eve", "consent": consent, "picture_media": sample})
    assert (reason(wrong), wrong.get_json()["field"]) == ((415, "MEDIA_UNSUPPORTED"), "picture_media")
    gone = client.post("/v1/faces", data={"name": "Eve", "consent": consent, "picture_media": "media_x"})
    assert (reason(gone), gone.get_json()["field"]) == ((404, "NOT_FOUND"), "picture_media")


def test_uploads_are_the_tenants_own(client: FlaskClient, gateway: Gateway) -> None:
    from services.gateway.db import Tenant
    from services.gateway.large_uploads import UploadOrder, begin_upload

    with gateway.database.session() as session:
        session.merge(Tenant(id="other", created_at=utc_now(), limits={}, webhook_secret="x"))
    upload = begin_upload(gateway, "other", UploadOrder("a.mp4", 10, None, "swap_target"))
    assert upload.key.startswith("uploads/other/")
    for answer in (
        client.get(f"/v1/uploads/{upload.id}"),
        client.delete(f"/v1/uploads/{upload.id}"),
        client.post(f"/v1/uploads/{upload.id}/complete"),
    ):
        assert reason(answer) == (404, "NOT_FOUND")
    assert upload.id not in [item["id"] for item in client.get("/v1/uploads").get_json()["data"]]


def test_an_uploaded_film_is_swapped_given_out_and_expires(tmp_path: Path) -> None:
    """All the way on S3: parts, a worker's job, a signed URL of the result, and the worker's own sweep."""
    store = s3_settings()
    stages = FakeStages(tmp_path, store=store)
    settings = GatewaySettings(
        data_dir=tmp_path, upload_part_bytes=PART, segment_seconds=0.5, queue_poll_s=0.05, **store, **stages.targets()
    )
    app = create_app(settings)
    client, gateway = app.test_client(), app.extensions["likeness"]
    consent = client.post("/v1/face_consents", json={"who": "x", "kind": "synthetic", "evidence": "test"}).get_json()
    form = {"name": "Bob", "consent": consent["id"], "picture": (io.BytesIO(portrait()), "p.png")}
    assert client.post("/v1/faces", data=form).status_code == 201
    target = upload_whole(client, film(1.0, brightness=120), file_name="holiday.mp4")
    with worker_inside(settings) as worker:
        swap = client.post("/v1/swaps", data={"face": "Bob", "target_media": target}).get_json()
        done = wait_for(
            lambda: (now := client.get(f"/v1/swaps/{swap['id']}").get_json())["status"] == "succeeded" and now, 40
        )
        assert client.get(f"/v1/media/{done['media']}/info").get_json()["job"] == swap["id"]
        url = client.post(f"/v1/media/{done['media']}/url").get_json()["url"]
        got = httpx.get(url, trust_env=False, timeout=60)
        assert (got.status_code, got.headers["content-type"]) == (200, "video/mp4")
        assert got.content == client.get(f"/v1/media/{done['media']}").data
        with gateway.database.session() as session:
            session.execute(update(Media).where(Media.id == done["media"]).values(expires_at=utc_now()))
        worker._sweep()
        assert client.get(f"/v1/media/{done['media']}").status_code == 404
        assert client.get(f"/v1/media/{target}").status_code == 200
        assert client.get(f"/v1/swaps/{swap['id']}").get_json()["media"] is None
        assert client.delete(f"/v1/media/{target}").status_code == 200
    assert [
        item.key for item in gateway.store.keys("media/") if "/media_" in item.key and item.key.endswith("mp4")
    ] == []
    gateway.close()
    stages.close()
