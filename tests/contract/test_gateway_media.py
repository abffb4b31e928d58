"""Files: how they are got, listed, and deleted with all that was made of them; what expires by itself."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.context import Gateway
from services.gateway.db import Base, Job, Media, Tenant
from services.gateway.db.models import utc_now
from services.gateway.downloads import content_disposition
from services.gateway.media import publish
from services.gateway.settings import GatewaySettings
from services.gateway.sweeping import sweep_jobs, sweep_media, sweep_orphans
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.databases import database_url
from tests.object_stores import s3_settings
from tests.waiting import wait_for

RECORDING = encode_audio(sine(180.0, 2.0), "wav")
CONSENT = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
DAY = timedelta(days=1)


@pytest.fixture(scope="module", params=["folder", "s3"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway without a worker: what is queued stays queued."""
    folder = tmp_path_factory.mktemp(f"gateway-media-{request.param}")
    store: dict[str, Any] = s3_settings() if request.param == "s3" else {}
    stages = FakeStages(folder, store=store)
    made = create_app(GatewaySettings(data_dir=folder, calibrate=False, **store, **stages.targets()))
    yield made
    made.extensions["likeness"].close()
    stages.close()


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


@pytest.fixture
def gateway(app: Any) -> Gateway:
    return app.extensions["likeness"]  # type: ignore[no-any-return]


def enrol_voice(client: FlaskClient, name: str) -> str:
    consent = client.post("/v1/audio/voice_consents", json=CONSENT).get_json()["id"]
    form = {"name": name, "consent": consent, "audio_sample": (io.BytesIO(RECORDING), "a.wav")}
    return str(client.post("/v1/audio/voices", data=form).get_json()["id"])


def enrol_face(client: FlaskClient, name: str, *pictures: bytes) -> str:
    consent = client.post("/v1/face_consents", json=CONSENT).get_json()["id"]
    files = [(io.BytesIO(picture), "p.png") for picture in pictures or (portrait(),)]
    return str(client.post("/v1/faces", data={"name": name, "consent": consent, "picture": files}).get_json()["id"])


def swap(client: FlaskClient, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    if "target_media" not in fields:
        fields["target"] = (io.BytesIO(portrait(80)), "t.png")
    answer = client.post("/v1/swaps", data=fields, headers=headers or {})
    assert answer.status_code in (201, 202), answer.text
    return answer.get_json()  # type: ignore[no-any-return]


def contents(gateway: Gateway) -> dict[str, Any]:
    """Every object, and the number of rows of every table in which a user's things are. Marks stay for good."""
    with gateway.database.session() as session:
        rows: dict[str, Any] = {
            table.name: session.scalar(select(func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
            if table.name not in ("audit", "consents", "marks", "processes", "tenants")
        }
    return rows | {"objects": sorted(item.key for prefix in ("media/", "work/") for item in gateway.store.keys(prefix))}


def reason(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.get_json()["reason"]


# --- getting ---


def test_a_range_fetches_no_more_than_that(app: Any, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 20_000
    media = publish(gateway, data, tenant="local", content_type="video/mp4", purpose="swap")
    asked: list[tuple[int, int | None]] = []
    read = type(gateway.store).read

    def spy(self: Any, key: str, start: int = 0, stop: int | None = None) -> Any:
        asked.append((start, stop))
        return read(self, key, start, stop)

    monkeypatch.setattr(type(gateway.store), "read", spy)
    client = app.test_client()
    for wanted, start, stop in (
        ("100-199", 100, 200),
        ("-50", len(data) - 50, len(data)),
        ("5000000-", 5_000_000, None),
    ):
        answer = client.get(f"/v1/media/{media.id}", headers={"Range": f"bytes={wanted}"})
        assert (answer.status_code, answer.data) == (206, data[start:stop])
        assert asked.pop() == (start, stop or len(data))
    assert client.head(f"/v1/media/{media.id}").content_length == len(data)
    etag = client.head(f"/v1/media/{media.id}").headers["ETag"]
    assert client.get(f"/v1/media/{media.id}", headers={"If-None-Match": etag}).status_code == 304
    assert asked == [], "neither needs the content"
    assert client.get(f"/v1/media/{media.id}").data == data
    assert not (gateway.settings.data_dir / "cache").exists()


def test_file_names_of_all_languages() -> None:
    assert content_disposition("inline", "a.mp4") == 'inline; filename="a.mp4"'
    assert content_disposition("inline", 'a"b\\c.mp4') == (
        "inline; filename=\"a_b_c.mp4\"; filename*=UTF-8''a%22b%5Cc.mp4"
    )
    assert content_disposition("attachment", "Übung 7 漢.mp4") == (
        "attachment; filename=\"_bung 7 _.mp4\"; filename*=UTF-8''%C3%9Cbung%207%20%E6%BC%A2.mp4"
    )


def test_a_signed_url_needs_no_key(client: FlaskClient, gateway: Gateway) -> None:
    media = publish(gateway, b"RIFFsomething", tenant="local", content_type="audio/wav", purpose="speech")
    answer = client.post(f"/v1/media/{media.id}/url").get_json()
    url = urlsplit(answer["url"])
    if url.path.startswith("/v1/"):
        got = client.get(f"{url.path}?{url.query}", headers={"Range": "bytes=0-3"})
        assert (got.status_code, got.data, got.content_type) == (206, b"RIFF", "audio/wav")
        other = publish(gateway, b"x", tenant="local", content_type="audio/wav", purpose="speech")
        assert reason(client.get(f"/v1/media/{other.id}/content?{url.query}")) == (403, "SIGNATURE_INVALID")
        client.delete(f"/v1/media/{media.id}")
        assert client.get(f"{url.path}?{url.query}").status_code == 404
    else:
        got_s3 = httpx.get(answer["url"], headers={"Range": "bytes=0-3"}, trust_env=False, timeout=60)
        assert (got_s3.status_code, got_s3.content) == (206, b"RIFF")
        assert got_s3.headers["content-type"] == "audio/wav"
        assert media.file_name in got_s3.headers["content-disposition"]
    assert answer["expires_at"] > utc_now().isoformat()
    assert reason(client.post("/v1/media/media_x/url")) == (404, "NOT_FOUND")


def test_files_are_listed_newest_first(client: FlaskClient, gateway: Gateway) -> None:
    made = [
        publish(gateway, b"x", tenant="local", content_type="image/png", purpose=purpose)
        for purpose in ("swap", "swap_target", "swap")
    ]
    page = client.get("/v1/media?limit=2").get_json()
    assert ([item["id"] for item in page["data"]], page["has_more"]) == ([made[2].id, made[1].id], True)
    rest = client.get(f"/v1/media?limit=1&after={page['last_id']}").get_json()
    assert rest["data"][0] == client.get(f"/v1/media/{made[0].id}/info").get_json()
    assert {item["purpose"] for item in client.get("/v1/media?purpose=swap_target").get_json()["data"]} == {
        "swap_target"
    }
    assert client.get("/v1/media?job=job_none").get_json()["data"] == []


# --- deleting ---


def test_deleting_a_voice_takes_all_that_was_spoken_with_it(client: FlaskClient, gateway: Gateway) -> None:
    before = contents(gateway)
    voice = enrol_voice(client, "Ada")
    body = {"input": "Hello there.", "voice": voice}
    with_result = client.post("/v1/audio/speech", json={**body, "keep": True})
    assert with_result.status_code == 200, with_result.text
    queued = client.post("/v1/audio/speech", json=body, headers={"Prefer": "respond-async"}).get_json()["id"]
    assert len(contents(gateway)["objects"]) == len(before["objects"]) + 2
    assert client.delete("/v1/audio/voices/Ada").get_json() == {
        "id": voice,
        "object": "audio.voice.deleted",
        "deleted": True,
    }
    after = contents(gateway)
    assert {name: after[name] for name in ("voices", "media", "objects")} == {
        name: before[name] for name in ("voices", "media", "objects")
    }
    job = client.get(f"/v1/jobs/{queued}").get_json()
    assert (job["status"], job["error"]["reason"]) == ("canceled", "CANCELLED")
    for job_id in (queued, with_result.headers["X-Likeness-Job"]):
        assert client.get(f"/v1/jobs/{job_id}").get_json()["media"] is None
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert contents(gateway) == before


def test_deleting_a_face_takes_every_picture_it_is_in(client: FlaskClient, gateway: Gateway) -> None:
    """Also those where it is one of several, or only the one that is looked for."""
    other = enrol_face(client, "Bob")
    kept = swap(client, face="Bob")
    before = contents(gateway)
    face = enrol_face(client, "Ada", portrait(), portrait(190))
    both = [{"face": "Bob", "selection": "index", "index": 0}, {"face": "Ada", "selection": "index", "index": 1}]
    made = [
        swap(client, face="Ada"),
        swap(client, assignments=json.dumps(both)),
        swap(client, face="Bob", selection="reference", reference_face="Ada"),
        swap(client, face="Ada", headers={"Prefer": "respond-async"}),
    ]
    client.delete(f"/v1/faces/{face}")
    after = contents(gateway)
    assert after["faces"] == before["faces"]
    assert client.get(f"/v1/swaps/{made[3]['id']}").get_json()["status"] == "canceled"
    for item in made:
        if item["media"]:
            assert client.get(f"/v1/media/{item['media']}").status_code == 404
    assert client.get(f"/v1/media/{kept['media']}").status_code == 200
    for item in made:
        assert client.delete(f"/v1/jobs/{item['id']}").status_code == 200
    assert contents(gateway) == before, "the targets have gone with the jobs"
    client.delete(f"/v1/faces/{other}")
    client.delete(f"/v1/jobs/{kept['id']}")


def test_deleting_a_target_takes_what_was_made_of_it(client: FlaskClient, gateway: Gateway) -> None:
    enrol_face(client, "Cleo")
    before = contents(gateway)
    first = swap(client, face="Cleo")
    second = swap(client, face="Cleo", target_media=first["target_media"])
    waiting = swap(client, face="Cleo", target_media=first["target_media"], headers={"Prefer": "respond-async"})
    refused = client.delete(f"/v1/media/{first['target_media']}")
    assert reason(refused) == (409, "IN_USE") and waiting["id"] in refused.get_json()["detail"]
    assert reason(client.delete(f"/v1/jobs/{waiting['id']}")) == (409, "IN_USE")
    client.post(f"/v1/jobs/{waiting['id']}/cancel")
    assert client.delete(f"/v1/media/{first['target_media']}").get_json()["deleted"]
    assert contents(gateway)["objects"] == before["objects"]
    for job in (first, second, waiting):
        shown = client.get(f"/v1/swaps/{job['id']}").get_json()
        assert (shown["media"], shown["target_media"]) == (None, None)
        client.delete(f"/v1/jobs/{job['id']}")
    assert contents(gateway) == before
    client.delete("/v1/faces/Cleo")


def test_a_job_that_shares_its_target_leaves_it(client: FlaskClient) -> None:
    enrol_face(client, "Dora")
    first = swap(client, face="Dora")
    second = swap(client, face="Dora", target_media=first["target_media"])
    client.delete(f"/v1/jobs/{first['id']}")
    assert client.get(f"/v1/media/{first['target_media']}").status_code == 200
    assert client.get(f"/v1/media/{second['media']}").status_code == 200
    assert client.get(f"/v1/media/{first['media']}").status_code == 404
    client.delete("/v1/faces/Dora")


def test_a_job_leaves_what_others_made_or_uploaded(client: FlaskClient, gateway: Gateway) -> None:
    enrol_face(client, "Dan")
    upload = publish(gateway, portrait(80), tenant="local", content_type="image/png", purpose="upload")
    first = swap(client, face="Dan", target_media=upload.id)
    second = swap(client, face="Dan", target_media=first["media"])
    client.delete(f"/v1/jobs/{second['id']}")
    assert client.get(f"/v1/media/{first['media']}").status_code == 200
    assert client.get(f"/v1/media/{second['media']}").status_code == 404
    client.delete(f"/v1/jobs/{first['id']}")
    assert client.get(f"/v1/media/{upload.id}").status_code == 200
    client.delete(f"/v1/media/{upload.id}")
    client.delete("/v1/faces/Dan")


def test_what_belongs_to_a_voice_or_face_is_deleted_with_it_only(client: FlaskClient) -> None:
    enrol_voice(client, "Eve")
    face = enrol_face(client, "Eve")
    sample = client.get("/v1/audio/voices/Eve").get_json()["sample_media"]
    picture = client.get("/v1/faces/Eve").get_json()["picture_media"]
    assert reason(client.delete(f"/v1/media/{sample}")) == (409, "IN_USE")
    refused = client.delete(f"/v1/media/{picture}")
    assert reason(refused) == (409, "IN_USE") and face in refused.get_json()["detail"]
    client.delete("/v1/audio/voices/Eve")
    client.delete("/v1/faces/Eve")
    assert client.get(f"/v1/media/{sample}").status_code == client.get(f"/v1/media/{picture}").status_code == 404


@pytest.mark.parametrize("kind", ["voice", "face", "media", "job"])
def test_a_crash_leaves_nothing_that_the_sweeper_would_not_remove(
    client: FlaskClient, gateway: Gateway, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after the records are gone, before any object is."""
    sweep_orphans(gateway, utc_now() + 2 * DAY)
    before = contents(gateway)
    enrol_voice(client, "Finn")
    enrol_face(client, "Finn")
    made = swap(client, face="Finn")
    spoken = client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "Finn", "keep": True})
    paths = {
        "voice": "/v1/audio/voices/Finn",
        "face": "/v1/faces/Finn",
        "media": f"/v1/media/{made['target_media']}",
        "job": f"/v1/jobs/{made['id']}",
    }

    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("services.gateway.deletion.delete_objects", die)
        with pytest.raises(Killed):
            client.delete(paths.pop(kind))
    swept = sweep_orphans(gateway, utc_now() + timedelta(hours=2))
    assert swept >= 1
    job_id = spoken.headers["X-Likeness-Job"]
    for path in [*paths.values(), f"/v1/jobs/{job_id}"]:
        client.delete(path)
    assert contents(gateway) == before


def test_orphans_of_unfinished_jobs_and_young_ones_are_left(client: FlaskClient, gateway: Gateway) -> None:
    enrol_voice(client, "Gus")
    body = {"input": "Hello there.", "voice": "Gus"}
    queued = client.post("/v1/audio/speech", json=body, headers={"Prefer": "respond-async"}).get_json()["id"]
    result = f"media/local/media_{queued.removeprefix('job_')}-0123456789abcdef.wav"
    stray = "media/local/media_0.png"
    for key in (result, stray):
        gateway.store.put(key, b"x")
    assert sweep_orphans(gateway) == 0
    assert sweep_orphans(gateway, utc_now() + timedelta(hours=2)) == 1
    assert gateway.store.exists(result) and not gateway.store.exists(stray)
    client.post(f"/v1/jobs/{queued}/cancel")
    client.delete("/v1/audio/voices/Gus")
    client.delete(f"/v1/jobs/{queued}")
    gateway.store.delete(result)


def test_what_is_deleted_while_somebody_waits_for_it_leaves_nothing(
    client: FlaskClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voice or face goes when the result is there already, but is not the job's yet."""
    before = contents(gateway)
    enrol_voice(client, "Kim")
    enrol_face(client, "Kim")
    paths = {"services.gateway.speech": "/v1/audio/voices/Kim", "services.gateway.swap": "/v1/faces/Kim"}
    for module, path in paths.items():
        with monkeypatch.context() as patch:

            def late(*given: Any, path: str = path, **options: Any) -> Any:
                media = publish(*given, **options)
                client.delete(path)
                return media

            patch.setattr(f"{module}.publish", late)
            if "speech" in module:
                answer = client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "Kim", "keep": True})
                assert answer.status_code == 404
                job_id = client.get("/v1/jobs").get_json()["data"][0]["id"]
            else:
                job_id = swap(client, face="Kim")["id"]
        job = client.get(f"/v1/jobs/{job_id}").get_json()
        assert (job["status"], job["media"]) == ("canceled", None)
        client.delete(f"/v1/jobs/{job_id}")
    assert contents(gateway) == before


def test_a_result_that_is_no_jobs_is_swept(gateway: Gateway) -> None:
    before = contents(gateway)
    publish(gateway, b"x", tenant="local", content_type="image/png", purpose="swap", job_id="job_gone")
    assert sweep_orphans(gateway) == 0
    assert sweep_orphans(gateway, utc_now() + timedelta(hours=2)) == 1
    assert contents(gateway) == before


# --- expiry ---


def test_files_expire_as_their_tenant_says(client: FlaskClient, gateway: Gateway) -> None:
    enrol_voice(client, "Hal")
    sample = client.get("/v1/audio/voices/Hal").get_json()["sample_media"]
    made = publish(gateway, b"x", tenant="local", content_type="image/png", purpose="swap")
    _limits(gateway, {})
    assert client.get(f"/v1/media/{made.id}/info").get_json()["expires_at"] is None
    sweep_media(gateway, utc_now() + 1000 * DAY)
    assert client.get(f"/v1/media/{made.id}").status_code == 200
    _limits(gateway, {"media_ttl_days": 3})
    expected = (made.created_at + 3 * DAY).isoformat().replace("+00:00", "Z")
    wait_for(lambda: client.get(f"/v1/media/{made.id}/info").get_json()["expires_at"] == expected)
    sweep_media(gateway, utc_now() + 2.9 * DAY)
    assert client.get(f"/v1/media/{made.id}").status_code == 200
    assert sweep_media(gateway, utc_now() + 3.1 * DAY) >= 1
    assert client.get(f"/v1/media/{made.id}").status_code == 404
    assert not gateway.store.exists(made.key)
    assert client.get(f"/v1/media/{sample}").status_code == 200, "a voice keeps its recording"
    _limits(gateway, {})
    client.delete("/v1/audio/voices/Hal")


def test_a_file_that_waits_for_work_does_not_expire(client: FlaskClient, gateway: Gateway) -> None:
    enrol_face(client, "Ida")
    target = publish(gateway, portrait(80), tenant="local", content_type="image/png", purpose="upload")
    with gateway.database.session() as session:
        session.execute(update(Media).where(Media.id == target.id).values(expires_at=utc_now() - DAY))
    waiting = swap(client, face="Ida", target_media=target.id, headers={"Prefer": "respond-async"})
    sweep_media(gateway)
    assert client.get(f"/v1/media/{target.id}").status_code == 200
    client.post(f"/v1/jobs/{waiting['id']}/cancel")
    sweep_media(gateway)
    assert client.get(f"/v1/media/{target.id}").status_code == 404
    client.delete("/v1/faces/Ida")


def test_jobs_expire_with_their_results(client: FlaskClient, gateway: Gateway) -> None:
    enrol_face(client, "Joe")
    before = contents(gateway)
    made = swap(client, face="Joe")
    with gateway.database.session() as session:
        session.execute(update(Job).where(Job.id == made["id"]).values(expires_at=utc_now() + DAY))
    assert sweep_jobs(gateway) == 0
    assert sweep_jobs(gateway, utc_now() + 2 * DAY) == 1
    assert client.get(f"/v1/jobs/{made['id']}").status_code == 404
    assert contents(gateway) == before
    client.delete("/v1/faces/Joe")


def test_files_of_another_tenant_are_not_there(client: FlaskClient, gateway: Gateway) -> None:
    with gateway.database.session() as session:
        session.merge(Tenant(id="other", created_at=utc_now(), limits={}, webhook_secret="x"))
    media = publish(gateway, b"x", tenant="other", content_type="image/png", purpose="swap")
    assert media.key.startswith("media/other/")
    path = f"/v1/media/{media.id}"
    for answer in (client.get(path), client.get(f"{path}/info"), client.post(f"{path}/url"), client.delete(path)):
        assert reason(answer) == (404, "NOT_FOUND")
    assert media.id not in [item["id"] for item in client.get("/v1/media?limit=100").get_json()["data"]]


def _limits(gateway: Gateway, limits: dict[str, Any]) -> None:
    with gateway.database.session() as session:
        session.execute(update(Tenant).where(Tenant.id == "local").values(limits=limits))


def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    away: dict[str, Any] = {
        "store_url": "s3://127.0.0.1:1",
        "store_secure": False,
        "store_access_key": "k",
        "store_secret_key": "s",
    }
    app = create_app(GatewaySettings(data_dir=tmp_path, database_url=database_url(tmp_path), **away))
    client, gateway = app.test_client(), app.extensions["likeness"]
    media = Media(
        id="media_1",
        tenant="local",
        key="media/local/media_1.png",
        sha256="0" * 64,
        size_bytes=1,
        content_type="image/png",
        purpose="swap",
        file_name="a.png",
    )
    with gateway.database.session() as session:
        session.add(media)
    upload = {"file_name": "a.mp4", "size_bytes": 1}
    for answer in (client.get("/v1/media/media_1"), client.post("/v1/uploads", json=upload)):
        assert reason(answer) == (503, "STORE_UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) >= 1
    gateway.close()


def test_deleting_what_is_not_there(client: FlaskClient) -> None:
    for path in ("/v1/media/media_x", "/v1/audio/voices/nobody", "/v1/faces/nobody", "/v1/jobs/job_x"):
        assert reason(client.delete(path)) == (404, "NOT_FOUND")
