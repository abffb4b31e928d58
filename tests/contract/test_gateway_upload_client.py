"""Uploads as users make them: the Python client and the command line, against a gateway on a port of its own."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from likeness import Client, LikenessAPIError, LikenessConnectionError
from likeness._cli import uploads as uploads_cli
from likeness._cli.app import run
from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.object_stores import s3_settings

PART = 5 * 1024 * 1024


@pytest.fixture(scope="module", params=["folder", "s3"])
def gateway_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(f"gateway-upload-client-{request.param}")
    store: dict[str, Any] = s3_settings() if request.param == "s3" else {}
    stages = FakeStages(folder, store=store)
    app = create_app(GatewaySettings(data_dir=folder, upload_part_bytes=PART, **store, **stages.targets()))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    app.extensions["likeness"].close()
    stages.close()


@pytest.fixture
def client(gateway_url: str) -> Iterator[Client]:
    with Client(gateway_url) as made:
        yield made


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Begins like a film; three parts, and no other file like it."""
    path = tmp_path / "Fülm.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypmp42" + os.urandom(64) + bytes(2 * PART + 1000))
    return path


def test_a_file_is_uploaded_and_told_of(client: Client, film: Path) -> None:
    hashed, sent = [0], [0]

    def add(to: list[int]) -> Any:
        return lambda count: to.__setitem__(0, to[0] + count)

    done = client.uploads.send(film, on_hashed=add(hashed), on_sent=add(sent))
    assert hashed == sent == [film.stat().st_size]
    assert (done.status, done.file_name) == ("completed", "Fülm.mp4")
    assert client.media.get(str(done.media)).content == film.read_bytes()
    info = client.media.info(str(done.media))
    assert (info.file_name, info.size_bytes, info.content_type) == ("Fülm.mp4", film.stat().st_size, "video/mp4")
    assert client.media.list()[0] == info
    assert client.uploads.list()[0].id == done.id
    assert client.media.url(info.id).startswith("http")
    client.media.delete(info.id)
    with pytest.raises(LikenessAPIError, match="There is no media"):
        client.media.info(info.id)


def test_an_interrupted_upload_is_gone_on_with(
    client: Client, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("likeness._uploads.PARTS_AT_ONCE", 1)
    real = client._transport.put_elsewhere
    puts: list[int] = []

    def interrupted(url: str, content: Any, size_bytes: int) -> None:
        if len(puts) == 2:
            raise KeyboardInterrupt
        puts.append(size_bytes)
        real(url, content, size_bytes)

    monkeypatch.setattr(client._transport, "put_elsewhere", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.uploads.send(film)
    (left,) = [item for item in client.uploads.list() if item.status == "open"]
    assert client.uploads.get(left.id).received_bytes == 2 * PART

    puts.clear()
    done = client.uploads.send(film)
    assert done.id == left.id and puts == [film.stat().st_size - 2 * PART]
    assert client.media.save(str(done.media), tmp_path / "back.mp4") == film.stat().st_size
    assert (tmp_path / "back.mp4").read_bytes() == film.read_bytes()


def test_parts_that_fail_are_sent_again(client: Client, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = client._transport.put_elsewhere
    failures = [LikenessConnectionError("broke off"), LikenessAPIError(503, "busy"), LikenessAPIError(403, "expired")]
    monkeypatch.setattr("likeness._uploads.FIRST_PAUSE_S", 0.01)

    def flaky(url: str, content: Any, size_bytes: int) -> None:
        if failures:
            next(iter(content))
            raise failures.pop()
        real(url, content, size_bytes)

    monkeypatch.setattr(client._transport, "put_elsewhere", flaky)
    sent = [0]
    done = client.uploads.send(film, on_sent=lambda count: sent.__setitem__(0, sent[0] + count))
    assert (done.status, failures) == ("completed", [])
    assert sent[0] == film.stat().st_size, "what was sent in vain does not count"


def test_nothing_is_tried_for_ever(client: Client, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness._uploads.FIRST_PAUSE_S", 0.001)

    def broken(*_: Any) -> None:
        raise LikenessConnectionError("the store cannot be reached")

    def refused(*_: Any) -> None:
        raise LikenessAPIError(422, "wrong size")

    for put, error in ((broken, "cannot be reached"), (refused, "wrong size")):
        monkeypatch.setattr(client._transport, "put_elsewhere", put)
        with pytest.raises((LikenessConnectionError, LikenessAPIError), match=error):
            client.uploads.send(film)
    (left,) = [item for item in client.uploads.list() if item.status == "open"]
    assert client.uploads.abort(left.id).status == "aborted"


def test_from_the_command_line(gateway_url: str, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["upload", str(film), "--url", gateway_url]) == 0
    media = capsys.readouterr().out.strip()
    with Client(gateway_url) as client:
        assert client.media.info(media).size_bytes == film.stat().st_size
    assert run(["upload", str(film), "--url", gateway_url, "--json", "--no-resume"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "completed"
    text = film.with_name("text.txt")
    text.write_text("no film")
    assert run(["upload", str(text), "--url", gateway_url]) == 2
    assert "a picture or a film" in capsys.readouterr().err


def test_files_from_the_command_line(
    gateway_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Bïld.png").write_bytes(portrait(77))

    def told(*command: str) -> str:
        assert run([*command, "--url", gateway_url]) == 0, capsys.readouterr().err
        return capsys.readouterr().out.strip()

    media = told("upload", "Bïld.png")
    (tmp_path / "Bïld.png").unlink()
    assert json.loads(told("media", "list", "--purpose", "upload", "--json"))[0]["id"] == media
    assert media[:12] in told("media", "list")
    assert json.loads(told("media", "info", media))["file_name"] == "Bïld.png"
    assert told("media", "get", media) == "Bïld.png"
    assert (tmp_path / "Bïld.png").read_bytes() == portrait(77)
    assert told("media", "get", media, "--out", "sub/other.png") == "sub/other.png"
    assert httpx.get(told("media", "url", media), trust_env=False, timeout=60).content == portrait(77)
    assert told("media", "delete", media) == f"{media}: deleted"
    assert run(["media", "get", media, "--url", gateway_url]) == 1


def test_a_swap_uploads_what_is_large(
    gateway_url: str,
    client: Client,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the server offers that; otherwise the file goes with the request."""
    monkeypatch.setattr(uploads_cli, "LARGE_BYTES", 100)
    consent = client.face_consents.create(who="nobody", kind="synthetic", evidence="made by this test")
    face, target, out = tmp_path / "face.png", tmp_path / "target.png", tmp_path / "out.png"
    face.write_bytes(portrait())
    target.write_bytes(portrait(80))
    command = ["swap", "--source", str(face), "--consent", consent.id, "--target", str(target), "-o", str(out)]
    before = len(client.uploads.list())
    assert run([*command, "--url", gateway_url]) == 0, capsys.readouterr().err
    assert len(client.uploads.list()) == before + 1
    assert out.read_bytes().startswith(b"\x89PNG")
    out.unlink()

    def missing(*_: Any, **__: Any) -> None:
        raise LikenessAPIError(404, "There is no such object", reason="NOT_FOUND")

    monkeypatch.setattr("likeness._uploads.Uploads.send", missing)
    assert run([*command, "--url", gateway_url]) == 0
    assert len(client.uploads.list()) == before + 1
    assert out.exists()


def test_a_voice_uploads_a_large_recording(
    gateway_url: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_cli, "LARGE_BYTES", 100)
    (tmp_path / "a.wav").write_bytes(encode_audio(sine(180.0, 2.0), "wav"))
    consent = client.voice_consents.create(who="nobody", kind="synthetic", evidence="made by this test")
    command = ["voices", "enrol", "Eva", str(tmp_path / "a.wav"), "--consent", consent.id, "--fast"]
    assert run([*command, "--url", gateway_url]) == 0
    assert (client.uploads.list()[0].purpose, client.voices.get("Eva").name) == ("voice_sample", "Eva")


def test_voices_and_faces_of_uploads(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encode_audio(sine(180.0, 2.0), "wav"))
    (tmp_path / "p.png").write_bytes(portrait())
    sample = str(client.uploads.send(tmp_path / "a.wav", purpose="voice_sample").media)
    picture = str(client.uploads.send(tmp_path / "p.png", purpose="face_picture").media)
    consent = client.voice_consents.create(who="nobody", kind="synthetic", evidence="made by this test")
    assert client.voices.enrol("Ada", consent=consent.id, fast=True, sample_media=sample).name == "Ada"
    consent = client.face_consents.create(who="nobody", kind="synthetic", evidence="made by this test")
    face = client.faces.enrol(consent=consent.id, name="Bob", picture_media=[picture, picture])
    assert len(face.pictures) == 2
