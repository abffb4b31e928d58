"""Backup and restore: from SQLite and a folder to PostgreSQL and S3 and back, while the gateway serves, damaged."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select

from likeness._cli.app import run
from services.common.encode_audio import encode_audio
from services.common.store import open_store
from services.gateway.app import create_app
from services.gateway.backup import BackupError, restore_backup, verify_backup, write_backup
from services.gateway.context import Gateway
from services.gateway.db import Database, IdempotencyRecord, Job, Process
from services.gateway.db.models import utc_now
from services.gateway.jobs import start_job
from services.gateway.media import publish
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.contract.gateway_worker import worker_inside
from tests.databases import database_url, new_postgresql_database
from tests.object_stores import s3_settings
from tests.waiting import wait_for

CONSENT = {"who": "Näme", "kind": "synthetic", "evidence": "made by this test"}
LISTS = ("/v1/audio/voice_consents", "/v1/face_consents", "/v1/audio/voices", "/v1/faces", "/v1/media", "/v1/keys")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("gateway-backup"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def source(stages: FakeStages) -> Iterator[Any]:
    """A gateway with something of everything, and no worker."""
    settings = GatewaySettings(data_dir=stages.data_dir, calibrate=False, **stages.targets())
    app = create_app(settings)
    client = app.test_client()
    consent = client.post("/v1/audio/voice_consents", json=CONSENT).get_json()["id"]
    form = {
        "name": "Ada",
        "consent": consent,
        "audio_sample": (io.BytesIO(encode_audio(sine(180.0, 2.0), "wav")), "a.wav"),
    }
    assert client.post("/v1/audio/voices", data=form).status_code == 201
    consent = client.post("/v1/face_consents", json=CONSENT).get_json()["id"]
    form = {"name": "Bob", "consent": consent, "picture": (io.BytesIO(portrait()), "p.png")}
    assert client.post("/v1/faces", data=form).status_code == 201
    target = (io.BytesIO(portrait(80)), "t.png")
    assert client.post("/v1/swaps", data={"face": "Bob", "target": target}).status_code == 201
    body = {"input": "Hello there.", "voice": "Ada"}
    headers = {"Idempotency-Key": "once", "Prefer": "respond-async"}
    assert client.post("/v1/audio/speech", json=body, headers=headers).status_code == 202
    assert client.post("/v1/uploads", json={"file_name": "a.mp4", "size_bytes": 7}).status_code == 201
    assert client.post("/v1/keys", json={"name": "test"}).status_code == 201
    gateway = app.extensions["likeness"]
    with gateway.database.session() as session:
        start_job(
            session,
            tenant="local",
            kind="speech",
            request_id="r",
            consent_id=consent,
            likeness_id="voice_x",
            parameters={},
            owner="gateway_that_answers",
        )
        rows = {"created_at": utc_now(), "fingerprint": "f", "owner": "o", "tenant": "local", "headers": {}}
        session.execute(
            insert(IdempotencyRecord),
            [{**rows, "key": "binary", "status": 200, "body": b"\x00\xff"}, {**rows, "key": "open", "status": None}],
        )
    yield app
    gateway.close()


def gateway_of(app: Any) -> Gateway:
    return app.extensions["likeness"]  # type: ignore[no-any-return]


def write(app: Any, path: Path) -> Path:
    gateway = gateway_of(app)
    report = write_backup(gateway.database, gateway.store, path)
    assert report.damaged == []
    return path


def restore(settings: GatewaySettings, path: Path, *, force: bool = False) -> Any:
    database = Database(settings.resolved_database_url)
    try:
        return restore_backup(settings, database, open_store(settings), path, force=force)
    finally:
        database.close()


def empty(tmp_path: Path, **settings: Any) -> GatewaySettings:
    values = {"database_url": database_url(tmp_path), **settings}
    return GatewaySettings(data_dir=tmp_path, calibrate=False, **values)


def seen(client: FlaskClient) -> dict[str, Any]:
    """All that a user sees of the records, and of each file its content."""
    lists = {path: client.get(f"{path}?limit=100").get_json()["data"] for path in LISTS}
    for key in lists["/v1/keys"]:
        key.pop("last_used_at", None)
    return lists | {item["id"]: client.get(f"/v1/media/{item['id']}").data for item in lists["/v1/media"]}


def test_all_goes_to_postgresql_and_s3_and_back(source: Any, stages: FakeStages, tmp_path: Path) -> None:
    before = seen(source.test_client())
    first = write(source, tmp_path / "first.tar")
    assert first.stat().st_mode & 0o777 == 0o600
    targets = {name: value for name, value in stages.targets().items() if name != "database_url"}
    s3 = s3_settings()
    there = empty(tmp_path / "there", database_url=new_postgresql_database("likeness_restored"), **s3, **targets)
    report = restore(there, first)
    assert (report.jobs_queued, report.jobs_failed) == (1, 1)
    app = create_app(there)
    assert seen(app.test_client()) == before
    second = write(app, tmp_path / "second.tar")
    gateway_of(app).close()

    back = empty(tmp_path / "back", database_url="", **targets)
    restore(back, second)
    app = create_app(back)
    client = app.test_client()
    assert seen(client) == before
    original = gateway_of(source).store
    for item in gateway_of(app).store.keys("media/"):
        assert gateway_of(app).store.get(item.key) == original.get(item.key)
        assert gateway_of(app).store.head(item.key) == original.head(item.key)
    with gateway_of(app).database.session() as session:
        bodies = {record.key: record.body for record in session.scalars(select(IdempotencyRecord))}
    assert bodies["binary"] == b"\x00\xff" and "open" not in bodies
    job = next(job for job in client.get("/v1/jobs").get_json()["data"] if job["status"] == "queued")
    with worker_inside(back):  # what waited when the backup was taken is done at last
        wait_for(lambda: client.get(f"/v1/jobs/{job['id']}").get_json()["status"] == "succeeded")
    failed = [job for job in client.get("/v1/jobs").get_json()["data"] if job["status"] == "failed"]
    assert [job["error"]["reason"] for job in failed] == ["DRAINING"]
    assert client.get("/v1/uploads").get_json()["data"][0]["status"] == "aborted"
    gateway_of(app).close()


def test_ids_go_on_after_those_that_were_restored(source: Any, tmp_path: Path) -> None:
    """PostgreSQL counts events itself."""
    settings = empty(tmp_path, database_url=new_postgresql_database("likeness_counted"))
    restore(settings, write(source, tmp_path / "backup.tar"))
    app = create_app(settings)
    consent = app.test_client().post("/v1/face_consents", json=CONSENT).get_json()["id"]
    with gateway_of(app).database.session() as session:
        start_job(
            session,
            tenant="local",
            kind="swap",
            request_id="r",
            consent_id=consent,
            likeness_id="face_x",
            parameters={},
        )
    gateway_of(app).close()


def test_a_backup_is_of_one_moment_while_the_gateway_serves(source: Any, tmp_path: Path) -> None:
    """Files come and go meanwhile; whatever the backup has can be restored, and every file is what its record says."""
    gateway, stopped, made = gateway_of(source), threading.Event(), 0
    client = source.test_client()

    def churn() -> None:
        nonlocal made
        while not stopped.is_set():
            items = [
                publish(gateway, os.urandom(50_000), tenant="local", content_type="image/png", purpose="swap")
                for _ in range(3)
            ]
            for media in items:
                client.delete(f"/v1/media/{media.id}")
            made += 3
            time.sleep(0.02)

    threads = [threading.Thread(target=churn) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(2):
            path = write(source, tmp_path / f"{number}.tar")
            settings = empty(tmp_path / f"restored-{number}", database_url="")
            restore(settings, path)
            app = create_app(settings)
            for item in app.test_client().get("/v1/media?limit=100").get_json()["data"]:
                assert app.test_client().get(f"/v1/media/{item['id']}").status_code == 200
            gateway_of(app).close()
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert made > 0


def test_only_an_empty_target_is_restored_into_unless_forced(source: Any, tmp_path: Path) -> None:
    path = write(source, tmp_path / "backup.tar")
    settings = empty(tmp_path)
    app = create_app(settings)
    consent = app.test_client().post("/v1/face_consents", json=CONSENT).get_json()["id"]
    stray = publish(gateway_of(app), b"x", tenant="local", content_type="image/png", purpose="swap")
    gateway_of(app).close()
    with pytest.raises(BackupError, match="--force"):
        restore(settings, path)
    restore(settings, path, force=True)
    app = create_app(settings)
    assert seen(app.test_client()) == seen(source.test_client())
    assert app.test_client().get(f"/v1/face_consents/{consent}").status_code == 404
    assert not gateway_of(app).store.exists(stray.key)
    gateway_of(app).close()


def test_nothing_is_restored_under_a_running_gateway(source: Any, tmp_path: Path) -> None:
    path = write(source, tmp_path / "backup.tar")
    settings = empty(tmp_path)
    app = create_app(settings)
    with gateway_of(app).database.session() as session:
        session.add(Process(id="gateway_1", kind="gateway", token="t", started_at=utc_now(), beat_at=utc_now()))
    with pytest.raises(BackupError, match="gateway_1"):
        restore(settings, path, force=True)
    gateway_of(app).close()


def _change(path: Path, to: Path, **changes: Any) -> Path:
    """A copy of the tar file with other contents of some members; None leaves one out."""
    with tarfile.open(path) as old, tarfile.open(to, "w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = changes.get(member.name.partition("/")[0].partition(".")[0], content.read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return to


def test_a_damaged_backup_is_refused_before_anything_is_touched(source: Any, tmp_path: Path) -> None:
    path = write(source, tmp_path / "backup.tar")
    verify_backup(path)
    settings = empty(tmp_path)
    half = tmp_path / "half.tar"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    flipped = bytearray(path.read_bytes())
    flipped[2 * path.stat().st_size // 5] ^= 1
    (tmp_path / "flipped.tar").write_bytes(flipped)
    (tmp_path / "text.tar").write_text("no tar at all")
    header = {"format": 1, "version": "9", "revision": "9999", "created_at": ""}
    for bad, told in (
        (half, "damaged|manifest|cannot be read"),
        (tmp_path / "flipped.tar", "damaged|cannot be read"),
        (tmp_path / "text.tar", "cannot be read"),
        (tmp_path / "absent.tar", "cannot be read"),
        (_change(path, tmp_path / "o.tar", objects=b"other"), "damaged"),
        (_change(path, tmp_path / "m.tar", manifest=None), "manifest"),
        (_change(path, tmp_path / "h.tar", **{"likeness-backup": json.dumps(header).encode()}), "damaged"),
    ):
        with pytest.raises(BackupError, match=told):
            restore(settings, bad, force=True)
    app = create_app(settings)
    assert app.test_client().get("/v1/media").get_json()["data"] == []
    gateway_of(app).close()


def test_a_file_that_is_not_what_its_record_says_is_told(source: Any, tmp_path: Path) -> None:
    gateway = gateway_of(source)
    media = publish(gateway, b"as it was", tenant="local", content_type="image/png", purpose="swap")
    lost = publish(gateway, b"lost", tenant="local", content_type="image/png", purpose="swap")
    gateway.store.put(media.key, b"something else")
    gateway.store.delete(lost.key)
    try:
        report = write_backup(gateway.database, gateway.store, tmp_path / "backup.tar")
        assert sorted(report.damaged) == sorted([media.key, lost.key])
        verify_backup(tmp_path / "backup.tar")
    finally:
        for item in (media, lost):
            source.test_client().delete(f"/v1/media/{item.id}")


def test_from_the_command_line(
    source: Any, stages: FakeStages, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup.tar"
    monkeypatch.setenv("LIKENESS_DATABASE_URL", stages.targets()["database_url"])
    assert run(["backup", str(file), "--data-dir", str(stages.data_dir)]) == 0
    assert "files" in capsys.readouterr().out
    new = tmp_path / "new"
    monkeypatch.setenv("LIKENESS_DATABASE_URL", database_url(new))
    assert run(["restore", str(file), "--data-dir", str(new), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["objects"] == len(source.test_client().get("/v1/media?limit=100").get_json()["data"])
    assert run(["restore", str(file), "--data-dir", str(new)]) == 1
    assert "--force" in capsys.readouterr().err
    assert run(["restore", str(file), "--data-dir", str(new), "--force"]) == 0
    assert run(["restore", str(tmp_path / "absent.tar"), "--data-dir", str(new)]) == 2
    app = create_app(empty(new, database_url=os.environ["LIKENESS_DATABASE_URL"]))
    with gateway_of(app).database.session() as session:
        assert {job.state for job in session.scalars(select(Job))} == {"queued", "succeeded", "failed"}
    gateway_of(app).close()
