"""A speech begins before its record is written: what has none is stopped, and nothing of it leaves."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from services.common.errors import LikenessError
from services.gateway import speech, speech_start
from services.gateway.api import speech as speech_api
from services.gateway.app import create_app
from services.gateway.auditing.check import check_audit
from services.gateway.db import AuditEntry, Job, Mark, Media
from services.gateway.jobs import records
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import HOLD_WORD, FakeStages
from tests.contract.gateway_people import enrol_ada
from tests.waiting import PATIENCE_S, wait_for

TEXT = "Good morning to everybody."
HELD = f"{HOLD_WORD} is what it begins with."
WAYS = pytest.mark.parametrize(
    ("way", "status", "reason"), [("revoke", 403, "CONSENT_NOT_LIVE"), ("delete", 404, "NOT_FOUND")]
)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("speech-start"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    settings = GatewaySettings(
        data_dir=stages.data_dir, calibrate=False, consent_interval_s=0.001, log_level="error", **stages.targets()
    )
    made = create_app(settings)
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any, stages: FakeStages) -> FlaskClient:
    stages.doings.cancelled.clear()
    made: FlaskClient = app.test_client()
    return made


def speak(client: FlaskClient, voice: str, text: str = TEXT) -> Any:
    return client.post("/v1/audio/speech", json={"input": text, "voice": voice, "response_format": "wav"})


def count(app: Any, table: type[Any], *conditions: Any) -> int:
    with app.extensions["likeness"].database.session() as session:
        return int(session.scalar(select(func.count()).select_from(table).where(*conditions)) or 0)


def before_the_record(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Once, when the stages have been asked and the record is not there yet."""
    opens, left = speech_start._is_opened, [happens]

    def later(*arguments: Any) -> bool:
        if left:
            left.pop()()
        return opens(*arguments)

    monkeypatch.setattr(speech_start, "_is_opened", later)


def test_the_stages_begin_before_the_record_is_written(
    app: Any, client: FlaskClient, stages: FakeStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = enrol_ada(client, "early")["id"]
    asked, jobs, seen = len(stages.doings.speakers), count(app, Job), []
    before_the_record(
        monkeypatch,
        lambda: seen.append((wait_for(lambda: len(stages.doings.speakers) > asked), count(app, Job))),
    )
    assert speak(client, voice).status_code == 200
    assert seen == [(True, jobs)]
    assert count(app, Job) == jobs + 1


def test_without_a_record_the_stages_are_stopped_and_nothing_leaves(
    app: Any, client: FlaskClient, stages: FakeStages, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, jobs, marks = enrol_ada(client, "unrecorded")["id"], count(app, Job), count(app, Mark)
    asked = len(stages.doings.speakers)

    def full(*_: Any) -> None:
        wait_for(lambda: len(stages.doings.speakers) > asked)
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(speech_start, "add_running", full)
    answer = speak(client, voice, HELD)
    assert answer.status_code == 503
    assert answer.is_json
    assert stages.doings.cancelled.wait(PATIENCE_S)
    assert (count(app, Job), count(app, Mark)) == (jobs, marks)


@WAYS
def test_what_is_revoked_or_deleted_while_it_begins_is_not_spoken(
    app: Any,
    client: FlaskClient,
    stages: FakeStages,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    status: int,
    reason: str,
) -> None:
    voice = enrol_ada(client, f"gone by {way}")
    jobs, marks = count(app, Job), count(app, Mark)

    asked = len(stages.doings.speakers)

    def once_asked() -> None:
        wait_for(lambda: len(stages.doings.speakers) > asked)
        take_away(app, voice, way)

    before_the_record(monkeypatch, once_asked)
    answer = speak(client, voice["id"], HELD)
    assert (answer.status_code, answer.get_json()["reason"]) == (status, reason)
    assert stages.doings.cancelled.wait(PATIENCE_S)
    assert (count(app, Job), count(app, Mark)) == (jobs, marks)


def test_a_number_that_another_output_has_is_not_used_again(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = enrol_ada(client, "numbered")["id"]
    first = speak(client, voice)
    with app.extensions["likeness"].database.session() as session:
        taken = session.scalar(select(Job.mark).where(Job.id == first.headers["X-Likeness-Job"]))
    numbers = iter((taken, 4_000_000_001))
    monkeypatch.setattr(speech_start, "draw_number", lambda: next(numbers))
    second = speak(client, voice)
    assert second.status_code == 200
    with app.extensions["likeness"].database.session() as session:
        assert session.scalar(select(Job.mark).where(Job.id == second.headers["X-Likeness-Job"])) == 4_000_000_001
        owner = session.scalar(select(Mark.job_id).where(Mark.number == taken))
    assert owner == first.headers["X-Likeness-Job"]
    verified = client.post("/v1/verify", data={"file": (io.BytesIO(second.data), "a.wav")}).get_json()
    assert [origin["job"] for origin in verified["origins"]] == [second.headers["X-Likeness-Job"]]


def entries_of(app: Any, job_id: str) -> list[tuple[str, int]]:
    query = select(AuditEntry.action, AuditEntry.status).where(AuditEntry.object_id == job_id).order_by(AuditEntry.seq)
    with app.extensions["likeness"].database.session() as session:
        return [(action, status) for action, status in session.execute(query)]


def test_release_and_request_are_entered_once_each_and_the_chain_holds(app: Any, client: FlaskClient) -> None:
    answer = speak(client, enrol_ada(client, "entered")["id"])
    assert entries_of(app, answer.headers["X-Likeness-Job"]) == [("release_output", 200), ("create_speech", 200)]
    assert check_audit(app.extensions["likeness"].database, []).is_intact


def test_without_its_entries_a_speech_is_not_released(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, jobs = enrol_ada(client, "unentered")["id"], count(app, Job, Job.state == "succeeded")
    entries = count(app, AuditEntry, AuditEntry.action == "release_output")

    def fails(*_: Any) -> None:
        raise OperationalError("INSERT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(records, "append_entries_in", fails)
    answer = speak(client, voice)
    assert answer.status_code == 503
    assert answer.is_json
    assert count(app, Job, Job.state == "succeeded") == jobs
    assert count(app, AuditEntry, AuditEntry.action == "release_output") == entries


def test_an_answer_that_fails_after_all_is_entered_as_that(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = enrol_ada(client, "unanswered")["id"]
    failed = count(app, AuditEntry, AuditEntry.action == "create_speech", AuditEntry.status == 500)

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no response can be made")

    monkeypatch.setattr(speech_api, "_respond", fails)
    assert speak(client, voice).status_code == 500
    assert count(app, AuditEntry, AuditEntry.action == "create_speech", AuditEntry.status == 500) == failed + 1


def test_a_speech_whose_time_is_over_before_it_begins_has_a_record_that_says_so(app: Any, client: FlaskClient) -> None:
    voice = enrol_ada(client, "late")["id"]
    body = {"input": TEXT, "voice": voice, "deadline_seconds": 1e-6}
    assert client.post("/v1/audio/speech", json=body).status_code == 504
    with app.extensions["likeness"].database.session() as session:
        job = session.scalars(select(Job).where(Job.likeness_id == voice)).one()
    assert (job.state, (job.error or {})["reason"]) == ("failed", "DEADLINE_EXCEEDED")


def take_away(app: Any, voice: dict[str, Any], way: str) -> None:
    """Deletes the voice, or revokes its consent."""
    client = app.test_client()
    if way == "revoke":
        assert client.post(f"/v1/audio/voice_consents/{voice['consent']}/revoke").status_code == 200
    else:
        assert client.delete(f"/v1/audio/voices/{voice['id']}").status_code == 200


@WAYS
def test_what_is_spoken_with_a_voice_that_is_taken_away_meanwhile_is_not_answered(
    app: Any, client: FlaskClient, stages: FakeStages, way: str, status: int, reason: str
) -> None:
    voice = enrol_ada(client, f"gone at last by {way}")
    stages.doings.go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        spoken = pool.submit(speak, app.test_client(), voice["id"], f"It begins well. {HELD}")
        running = Job.likeness_id == voice["id"], Job.state == "processing"
        wait_for(lambda: count(app, Job, *running) == 1)
        take_away(app, voice, way)
        stages.doings.go_on.set()
        answer = spoken.result(PATIENCE_S)
    assert (answer.status_code, answer.get_json()["reason"]) == (status, reason)
    assert count(app, Job, Job.likeness_id == voice["id"], Job.state == "canceled") == 1
    stages.doings.go_on.clear()


@WAYS
def test_what_is_complete_is_looked_at_once_more_before_it_leaves(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, way: str, status: int, reason: str
) -> None:
    voice = enrol_ada(client, f"gone in the last moment by {way}")
    signs = speech.release

    def later(*arguments: Any, **options: Any) -> Any:
        signed = signs(*arguments, **options)
        take_away(app, voice, way)
        return signed

    monkeypatch.setattr(speech, "release", later)
    answer = client.post("/v1/audio/speech", json={"input": TEXT, "voice": voice["id"], "keep": True})
    assert (answer.status_code, answer.get_json()["reason"]) == (status, reason)
    with app.extensions["likeness"].database.session() as session:
        job = session.scalars(select(Job).where(Job.likeness_id == voice["id"])).one()
        kept = session.scalar(select(func.count()).select_from(Media).where(Media.job_id == job.id))
    assert (job.state, job.media_id, kept) == ("canceled", None, 0)
    assert "release_output" not in [action for action, _ in entries_of(app, job.id)]


@WAYS
@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_a_stream_breaks_off_when_the_voice_is_taken_away(
    app: Any, client: FlaskClient, stages: FakeStages, stream_format: str, way: str, status: int, reason: str
) -> None:
    voice = enrol_ada(client, f"{stream_format} broken off by {way}")
    stages.doings.go_on.clear()
    long = "A sentence that is long enough to be heard, and sounds well, too. " * 4
    body = {"input": f"{long} {HELD} {long}", "voice": voice["id"], "response_format": "pcm"}
    answer = client.post("/v1/audio/speech", json=body | {"stream_format": stream_format}, buffered=False)
    assert answer.status_code == 200
    pieces = iter(answer.response)
    heard = [next(pieces)]
    take_away(app, voice, way)
    stages.doings.go_on.set()
    with pytest.raises(LikenessError) as broken:
        heard.extend(pieces)
    answer.close()
    assert broken.value.reason == reason
    if stream_format == "sse":
        assert b'"speech.audio.done"' not in b"".join(heard)
        assert json.loads(heard[-1].removeprefix(b"data: "))["type"] == "error"
    assert count(app, Job, Job.likeness_id == voice["id"], Job.state == "canceled") == 1
    stages.doings.go_on.clear()
