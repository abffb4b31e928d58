"""Swaps of films from Python and from the command line: what is sent, how waiting ends, what is written."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import likeness
from likeness._cli import film_bar
from likeness._cli.app import run
from likeness._swaps import SwapJob
from tests.unit.likeness_scripted_gateway import Answer, ScriptedGateway, json_answer, problem, scripted_gateway

FIGURES = {"frames": 48, "frames_per_second": 24.0, "seconds": 2.0, "people": [{"frames_swapped": 40}]}
FACE = {"id": "face_1", "name": None, "consent": "cons_1", "created_at": 1}


def swap(status: str, frames_done: int = 0, **fields: Any) -> dict[str, Any]:
    progress = {"phase": "swapping", "frames_done": frames_done, "frames_total": 48, "seconds_left": 1.5}
    return {"id": "job_1", "status": status, "progress": progress, "media": None, "figures": {}, **fields}


DONE = swap("succeeded", 48, media="media_1", figures=FIGURES)
FAILED = swap("failed", error={"reason": "FACE_NOT_FOUND", "detail": "There is no face.", "field": "target"})


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    with scripted_gateway() as running:
        monkeypatch.setenv("LIKENESS_URL", running.url)
        running.answers["POST /v1/faces"] = json_answer(FACE, 201)
        running.answers["DELETE /v1/faces/face_1"] = json_answer({"deleted": True})
        running.answers["POST /v1/swaps"] = json_answer(swap("processing"), 202)
        running.answers["GET /v1/swaps/job_1"] = [json_answer(swap("processing", 20)), json_answer(DONE)]
        running.answers["GET /v1/media/media_1"] = Answer(200, b"film", {"Content-Type": "video/mp4"})
        yield running


@pytest.fixture
def client(gateway: ScriptedGateway) -> Iterator[likeness.Client]:
    with likeness.Client(gateway.url) as opened:
        yield opened


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a film")
    return path


def fields(body: bytes) -> dict[str, str]:
    """Name and text of each part that is no file."""
    found = {}
    for part in body.split(b"\r\n--"):
        head, _, text = part.partition(b"\r\n\r\n")
        if b"filename=" not in head and b'name="' in head:
            found[head.split(b'name="')[1].split(b'"')[0].decode()] = text.decode()
    return found


# --- from Python ---


def test_a_film_is_waited_for(client: likeness.Client, film: Path, tmp_path: Path) -> None:
    job = client.swaps.create(face="ada", target=film)
    assert (job.status, job.is_done) == ("processing", False)
    told: list[int] = []
    assert job.wait(on_progress=lambda progress: told.append(progress.frames_done)) is job
    assert told == [0, 20, 48]
    assert job.figures["frames"] == 48
    assert job.save(tmp_path / "out.mp4") == 4 and (tmp_path / "out.mp4").read_bytes() == b"film"
    buffer = io.BytesIO()
    job.save(buffer)
    assert buffer.getvalue() == b"film"


def test_everything_that_is_asked_for_is_sent(client: likeness.Client, gateway: ScriptedGateway, film: Path) -> None:
    people = [
        {"face": "ada", "selection": "index", "index": 0},
        {"face": "bob", "selection": "reference", "reference": b"who", "threshold": 0.4},
        {"face": "eve", "selection": "reference", "reference": b"other"},
    ]
    options = {"start_s": 1.5, "end_s": 2, "height_px": 240, "crf": 20, "format": "webm", "engine": "inswapper"}
    client.swaps.create(
        target=film, assignments=people, regions=["skin", "nose"], keep_occluders=False, in_background=True, **options
    )
    asked = gateway.asked[-1]
    assert asked.headers["Prefer"] == "respond-async"
    sent = fields(asked.body)
    assert json.loads(sent.pop("assignments")) == [
        {"face": "ada", "selection": "index", "index": 0},
        {"face": "bob", "selection": "reference", "reference": 0, "threshold": 0.4},
        {"face": "eve", "selection": "reference", "reference": 1},
    ]
    assert sent == {
        **{name: str(value) for name, value in options.items()},
        "regions": "skin,nose",
        "keep_occluders": "false",
    }
    assert asked.body.count(b'name="reference"; filename=') == 2
    assert b'name="target"; filename="film.mp4"' in asked.body


def test_media_that_are_there_are_named(client: likeness.Client, gateway: ScriptedGateway) -> None:
    client.swaps.create(face="ada", target_media="media_7")
    assert fields(gateway.asked[-1].body) == {"face": "ada", "target_media": "media_7"}
    assert gateway.asked[-1].headers["Content-Type"].startswith("multipart/form-data")


def test_a_failed_film_raises_the_reason(client: likeness.Client, gateway: ScriptedGateway, film: Path) -> None:
    gateway.answers["GET /v1/swaps/job_1"] = json_answer(FAILED)
    job = client.swaps.create(face="ada", target=film)
    with pytest.raises(likeness.LikenessJobError) as told:
        job.wait()
    assert (told.value.status, told.value.reason, told.value.field) == ("failed", "FACE_NOT_FOUND", "target")
    assert str(told.value) == "job_1 failed: There is no face."
    with pytest.raises(ValueError, match="no result"):
        job.save("nowhere.mp4")


def test_waiting_has_an_end(client: likeness.Client, gateway: ScriptedGateway, film: Path) -> None:
    gateway.answers["GET /v1/swaps/job_1"] = json_answer(swap("processing"))
    with pytest.raises(TimeoutError):
        client.swaps.create(face="ada", target=film).wait(0.2)


def test_cancelling(client: likeness.Client, gateway: ScriptedGateway, film: Path) -> None:
    error = {"reason": "CANCELLED", "detail": "Cancelled on request.", "field": None}
    gateway.answers["POST /v1/swaps/job_1/cancel"] = json_answer(swap("canceled", error=error))
    job = client.swaps.create(face="ada", target=film).cancel()
    assert job.status == "canceled"
    with pytest.raises(likeness.LikenessJobError, match="was cancelled"):
        job.wait()


def test_a_broken_download_leaves_the_old_file(
    client: likeness.Client, gateway: ScriptedGateway, tmp_path: Path
) -> None:
    gateway.answers["GET /v1/media/media_1"] = Answer(200, b"half", {"Content-Type": "video/mp4"}, truncated=True)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"old")
    with pytest.raises(likeness.LikenessConnectionError):
        client.media.save("media_1", out)
    assert out.read_bytes() == b"old" and list(tmp_path.iterdir()) == [out]


def test_several_pictures_of_a_face(client: likeness.Client, gateway: ScriptedGateway) -> None:
    client.faces.enrol([b"one", b"two"], consent="cons_1")
    assert gateway.asked[-1].body.count(b'name="picture"; filename=') == 2


# --- from the command line ---


def swap_command(film: Path, out: Path, *more: str) -> list[str]:
    source = film.parent / "ada.png"
    source.write_bytes(b"png")
    return ["swap", "--source", str(source), "--consent", "cons_1", "--target", str(film), "--out", str(out), *more]


def test_swaps_a_film(gateway: ScriptedGateway, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.webm"
    options = ["--start", "1", "--end", "2.5", "--height", "240", "--crf", "20", "--no-keep-occluders"]
    assert run(swap_command(film, out, *options, "--regions", "skin, nose", "--faces", "0,2")) == 0
    assert out.read_bytes() == b"film"
    assert "48 frames, 40 faces swapped in 2.0 s (24.0 frames per second)" in capsys.readouterr().out
    sent = fields(next(asked for asked in gateway.asked if asked.path == "/v1/swaps").body)
    assert json.loads(sent.pop("assignments")) == [
        {"face": "face_1", "selection": "index", "index": 0},
        {"face": "face_1", "selection": "index", "index": 2},
    ]
    assert sent == {
        "format": "webm",
        "start_s": "1.0",
        "end_s": "2.5",
        "height_px": "240",
        "crf": "20",
        "regions": "skin,nose",
        "keep_occluders": "false",
    }
    assert gateway.asked[-1].method == "DELETE", "the face was only for this swap"


def test_swaps_who_looks_like_a_picture_and_mapped_faces(gateway: ScriptedGateway, film: Path, tmp_path: Path) -> None:
    who = tmp_path / "who.jpg"
    who.write_bytes(b"jpg")
    mapped = ["--map", "bob=1", "--map", "a=b=0"]
    assert run(swap_command(film, tmp_path / "out.mp4", "--faces", str(who), "--threshold", "0.5", *mapped)) == 0
    sent = fields(next(asked for asked in gateway.asked if asked.path == "/v1/swaps").body)
    assert json.loads(sent["assignments"]) == [
        {"face": "face_1", "selection": "reference", "reference": 0, "threshold": 0.5},
        {"face": "bob", "selection": "index", "index": 1},
        {"face": "a=b", "selection": "index", "index": 0},
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--faces", "nobody.jpg"], "--faces"),
        (["--map", "bob"], "--map"),
        (["--regions", "hat"], "--regions"),
        (["--crf", "99"], "crf"),
        (["--out", "film.doc"], "film.doc"),
    ],
)
def test_a_wrong_option_is_one_line(
    gateway: ScriptedGateway,
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    assert run(swap_command(film, tmp_path / "out.mp4", *options)) == 2
    error = capsys.readouterr().err.strip()
    assert told in error and "\n" not in error
    assert gateway.asked == []


def test_a_source_needs_a_consent(film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["swap", "--source", str(film), "--target", str(film), "--out", "o.mp4"]) == 2
    assert "--consent" in capsys.readouterr().err
    assert run(["swap", "--target", str(film), "--out", "o.mp4"]) == 2
    assert "--source" in capsys.readouterr().err


def test_a_bad_film_is_one_line(
    gateway: ScriptedGateway, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = problem(422, "The file cannot be decoded", "It was cut off.", "MEDIA_UNREADABLE")
    gateway.answers["POST /v1/swaps"] = refusal
    assert run(swap_command(film, tmp_path / "out.mp4")) == 2
    assert capsys.readouterr().err.strip() == "The file cannot be decoded: It was cut off."
    gateway.answers["POST /v1/swaps"] = json_answer(swap("processing"), 202)
    gateway.answers["GET /v1/swaps/job_1"] = json_answer(FAILED)
    assert run(swap_command(film, tmp_path / "out.mp4")) == 2
    assert capsys.readouterr().err.strip() == "job_1 failed: There is no face."
    assert not (tmp_path / "out.mp4").exists() and gateway.asked[-1].method == "DELETE"


def test_ctrl_c_cancels_the_job(
    gateway: ScriptedGateway,
    film: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any, **__: Any) -> SwapJob:
        raise KeyboardInterrupt

    monkeypatch.setattr(SwapJob, "wait", interrupted)
    gateway.answers["POST /v1/swaps/job_1/cancel"] = json_answer(swap("canceled"))
    assert run(swap_command(film, tmp_path / "out.mp4")) == 130
    asked = [f"{item.method} {item.path}" for item in gateway.asked]
    assert asked[-2:] == ["POST /v1/swaps/job_1/cancel", "DELETE /v1/faces/face_1"]
    assert "job_1 is cancelled" in capsys.readouterr().err


def test_jobs_are_watched_and_cancelled(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    record = {**DONE, "kind": "swap", "created_at": 1, "consent": "cons_1", "likeness": "face_1", "request_id": "r"}
    gateway.answers["GET /v1/jobs/job_1"] = json_answer(record)
    assert run(["jobs", "watch", "job_1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figures"]["frames"] == 48
    gateway.answers["POST /v1/jobs/job_1/cancel"] = json_answer({**record, "status": "canceled"})
    assert run(["jobs", "cancel", "job_1"]) == 0
    assert capsys.readouterr().out == "job_1: canceled\n"


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (likeness.Progress("waiting"), ""),
        (likeness.Progress("swapping", 0, 300), "0/300 frames"),
        (likeness.Progress("swapping", 120, 300, 31.46, 5.7), "120/300 frames, 31.5 per second, 6 s left"),
        (likeness.Progress("swapping", 1, 9000, 10.0, 899.9), "1/9000 frames, 10.0 per second, 15 min 00 s left"),
    ],
)
def test_progress_in_words(progress: likeness.Progress, told: str) -> None:
    assert film_bar.describe(progress) == told
