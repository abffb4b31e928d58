"""Workers: what they do of a queue, in which order, what they hand over, and what they keep for a retry."""

from __future__ import annotations

import io
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update

from services.common.encode_audio import encode_audio
from services.common.errors import LikenessError
from services.common.markup import read_script
from services.common.script import SENTENCE_PAUSE_S, Manner, Reading, Rest, Words
from services.gateway.app import create_app
from services.gateway.context import open_gateway
from services.gateway.db import Job, JobEvent, Media, Process
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.jobs import QueueOptions, end_job_in, queue_job, start_job
from services.gateway.jobs.expiry import sweep
from services.gateway.jobs.processes import Presence, forget_silent
from services.gateway.settings import GatewaySettings
from services.gateway.speech import SpeechOrder
from services.gateway.speech_jobs import queue_speech
from services.gateway.speech_text import split_text
from services.gateway.synthesis import Utterance
from tests.contract.gateway_fakes import BREAK_WORD, HOLD_WORD, FakeStages, sine
from tests.contract.gateway_worker import WorkerProcess, worker_inside
from tests.same_speech import is_same_speech
from tests.waiting import PATIENCE_S, PROMPT_S, wait_for


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway-worker")


@pytest.fixture(scope="module")
def stages(folder: Path) -> Iterator[FakeStages]:
    fakes = FakeStages(folder)
    yield fakes
    fakes.close()


def settings_of(stages: FakeStages, **settings: Any) -> GatewaySettings:
    values = {"consent_interval_s": 0.1, "queue_poll_s": 0.05, "log_level": "error", **settings}
    return GatewaySettings(data_dir=stages.data_dir, **values, **stages.targets())


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    made = create_app(settings_of(stages))
    client = made.test_client()
    consent = new_consent(client)
    sample = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    data = {"name": "Ada", "consent": consent, "calibration": "fast", "audio_sample": sample}
    assert client.post("/v1/audio/voices", data=data).status_code == 201
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any, stages: FakeStages) -> Iterator[FlaskClient]:
    stages.doings.go_on.clear()
    stages.doings.cancelled.clear()
    yield app.test_client()
    stages.doings.go_on.set()


def new_consent(client: FlaskClient) -> str:
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    return str(client.post("/v1/audio/voice_consents", json=body).get_json()["id"])


def queue(app: Any, text: str, **options: Any) -> str:
    order = SpeechOrder("Ada", Utterance(text, engine="draft"), "wav")
    return queue_speech(
        app.extensions["likeness"], order, tenant="local", request_id="r", options=QueueOptions(**options)
    ).id


def job_of(app: Any, job_id: str) -> Job:
    with app.extensions["likeness"].database.session() as session:
        found = session.get(Job, job_id)
        assert found is not None
        return found


def ended(app: Any, job_id: str) -> Job:
    def look() -> Job | None:
        job = job_of(app, job_id)
        return job if job.state not in ("queued", "processing") else None

    return wait_for(look)  # type: ignore[no-any-return]


def work_keys(app: Any, job_id: str) -> list[str]:
    return [stored.key for stored in app.extensions["likeness"].store.list(f"work/local/{job_id}/")]


@contextmanager
def worker(stages: FakeStages, **settings: Any) -> Iterator[None]:
    with worker_inside(settings_of(stages, **settings)):
        yield


# --- speech ---

LONG = "One thing follows another. Then there is a pause. At last the end comes."


def test_a_short_speech_in_the_queue_is_that_of_a_request(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    body = {"input": LONG, "voice": "Ada", "response_format": "wav", "vocoder": "draft", "stream": False}
    direct = client.post("/v1/audio/speech", json=body).data
    with worker(stages):
        job = ended(app, queue(app, LONG))
    assert job.state == "succeeded", job.error
    assert is_same_speech(client.get(f"/v1/media/{job.media_id}").data, direct)
    assert job.figures["speaker_similarity"] > 0.9 and job.figures["audio_seconds"] > 1
    assert "input" not in job.parameters and job.parameters["input_characters"] == len(LONG)


def test_a_long_speech_is_made_in_chunks_and_joined_in_order(app: Any, stages: FakeStages) -> None:
    whole_job = queue(app, LONG)
    with worker(stages, speech_chunk_characters=30):
        job = ended(app, whole_job)
        assert job.state == "succeeded", job.error
        wait_for(lambda: work_keys(app, job.id) == [])
    with worker(stages):
        whole = ended(app, queue(app, LONG))
    pauses_s = SENTENCE_PAUSE_S * (len(split_text(LONG, 30)) - 1)  # which the fakes make only where they are told to
    assert job.figures["audio_seconds"] == pytest.approx(whole.figures["audio_seconds"] + pauses_s, abs=1e-3)


@pytest.mark.parametrize("limit", [1, 20, 30, 60, 1000])
def test_chunks_are_whole_sentences(limit: int) -> None:
    scripts = [read_script(chunk) for chunk in split_text(LONG, limit)]
    texts = [" ".join(sentence.spoken_text for sentence in script.sentences) for script in scripts]
    assert " ".join(texts) == LONG
    assert all(text.endswith(".") for text in texts)
    assert all(len(text) <= limit or text.count(".") == 1 for text in texts)
    assert [script.rest_seconds for script in scripts] == [SENTENCE_PAUSE_S] * (len(scripts) - 1) + [0.0]


def test_chunks_of_marked_text_keep_what_holds_for_them() -> None:
    text = (
        '<speak>One. <prosody rate="slow"><p>Two is <sub alias="said. so">s. s.</sub>.</p> '
        '<p>Three. <break time="2s"/></p></prosody>Four &lt; five.</speak>'
    )
    chunks = split_text(text, 5, speed=2.0)
    parts = [sentence.parts for chunk in chunks for sentence in read_script(chunk).sentences]
    slow = Manner(0.75)
    assert parts == [
        (Words("One."), Rest(SENTENCE_PAUSE_S / 2)),
        (Words("Two is ", slow), Reading("s. s.", "alias", "said. so", manner=slow), Words(".", slow), Rest(0.325)),
        (Words("Three.", slow), Rest(2.0)),
        (Words("Four < five."),),
    ]
    plain = split_text("I <speak> to you. <speak>Well</speak>, I do.", 20)
    assert [read_script(chunk).sentences[0].parts[0] for chunk in plain] == [
        Words("I <speak> to you."),
        Words("<speak>Well</speak>, I do."),
    ]


def test_words_of_a_job_are_those_of_its_audio(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    body = {"input": LONG, "voice": "Ada", "timestamps": True, "dictionary": {"Ada": "AY1 D AH0"}, "temperature": 0.5}
    with worker(stages, speech_chunk_characters=30):
        queued = client.post("/v1/audio/speech", json=body, headers={"Prefer": "respond-async"})
        assert queued.status_code == 202 and queued.get_json()["timestamps_url"] is None
        job = ended(app, queued.get_json()["id"])
    assert job.state == "succeeded", job.error
    shown = client.get(f"/v1/jobs/{job.id}").get_json()
    found = client.get(shown["timestamps_url"]).get_json()
    words = found["words"]
    assert [word["punctuated_word"] for word in words] == LONG.split()
    assert found["duration"] == pytest.approx(job.figures["audio_seconds"], abs=1e-3)
    assert words[-1]["end"] == pytest.approx(found["duration"], abs=0.01)
    gaps = [after["start"] - word["end"] for word, after in pairwise(words)]
    pauses = [gap for gap in gaps if gap > 0.01]
    assert pauses == pytest.approx([SENTENCE_PAUSE_S] * (len(split_text(LONG, 30)) - 1), abs=0.01)
    assert all(gap > -1e-6 for gap in gaps)
    request = stages.doings.speeches[-1]
    assert dict(request.dictionary) == body["dictionary"] and request.temperature == 0.5
    assert "dictionary" not in job.parameters and job.parameters["dictionary_entries"] == 1
    assert client.delete(f"/v1/media/{job.media_id}").status_code == 200
    assert client.get(f"/v1/jobs/{job.id}/timestamps").status_code == 404


def test_a_queued_text_that_cannot_be_spoken_is_refused_at_once(client: FlaskClient) -> None:
    for body, reason in (
        ({"input": "<speak>a & b</speak>"}, "MARKUP_INVALID"),
        ({"input": "Hello.", "dictionary": {"x": "K QQ1"}}, "PRONUNCIATION_INVALID"),
    ):
        refused = client.post("/v1/audio/speech", json={"voice": "Ada", **body}, headers={"Prefer": "respond-async"})
        assert (refused.status_code, refused.get_json()["reason"]) == (422, reason)


# --- failing, cancelling, retrying ---


def test_a_failed_speech_is_retried_from_where_it_failed(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    text = f"The first is good. Then comes {HOLD_WORD}."
    with worker(stages, speech_chunk_characters=20):
        job_id = queue(app, text)
        wait_for(lambda: len(work_keys(app, job_id)) == 2)
        assert client.post(f"/v1/jobs/{job_id}/cancel").get_json()["status"] == "canceled"
        wait_for(stages.doings.cancelled.is_set)
        spoken = len(stages.doings.speakers)
        stages.doings.go_on.set()
        assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 200
        job = ended(app, job_id)
    assert (job.state, job.attempt) == ("succeeded", 2), job.error
    assert len(stages.doings.speakers) == spoken + 1, "the first chunk is not made again"
    refused = client.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.get_json()["reason"]) == (409, "NOT_RETRYABLE")


def test_the_end_of_a_consent_stops_the_work_and_deletes_what_was_made(app: Any, stages: FakeStages) -> None:
    client = app.test_client()
    consent = new_consent(client)
    sample = (io.BytesIO(encode_audio(sine(220.0, 2.0), "wav")), "eve.wav")
    data = {"name": "Eve", "consent": consent, "calibration": "fast", "audio_sample": sample}
    assert client.post("/v1/audio/voices", data=data).status_code == 201
    stages.doings.go_on.clear()
    order = SpeechOrder("Eve", Utterance(f"The first is good. Then comes {HOLD_WORD}."), "wav")
    with worker(stages, speech_chunk_characters=20):
        gateway = app.extensions["likeness"]
        job_id = queue_speech(gateway, order, tenant="local", request_id="r").id
        wait_for(lambda: len(work_keys(app, job_id)) == 2)
        began_at = time.monotonic()
        client.post(f"/v1/audio/voice_consents/{consent}/revoke")
        job = ended(app, job_id)
        assert time.monotonic() - began_at < PROMPT_S
        assert job.state == "canceled" and (job.error or {})["reason"] == "CONSENT_NOT_LIVE"
        wait_for(lambda: work_keys(app, job_id) == [])
    stages.doings.go_on.set()


def test_what_a_stage_says_of_the_text_is_not_tried_again(app: Any, stages: FakeStages) -> None:
    with worker(stages):
        job = ended(app, queue(app, f"What a {BREAK_WORD}."))
    assert job.state == "failed" and (job.error or {})["reason"] == "INTERNAL"


def test_the_deadline_ends_a_job_at_work_and_one_that_waits(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    soon = utc_now() + timedelta(seconds=1.5)
    waiting = queue(app, "Nobody takes this up.", deadline_at=utc_now() - timedelta(seconds=1))
    with worker(stages):
        at_work = ended(app, queue(app, f"A long {HOLD_WORD}.", deadline_at=soon))
        assert at_work.state == "failed" and (at_work.error or {})["reason"] == "DEADLINE_EXCEEDED"
        wait_for(stages.doings.cancelled.is_set)
        sweep(app.extensions["likeness"])
        late = ended(app, waiting)
    assert late.state == "failed" and (late.error or {})["reason"] == "DEADLINE_EXCEEDED"


def test_what_is_kept_for_a_retry_is_kept_for_a_while_only(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    with worker(stages, speech_chunk_characters=20, speech_parallel_chunks=1):
        job_id = queue(app, f"The first is good. What a {BREAK_WORD}.")
        assert ended(app, job_id).state == "failed"
        assert len(work_keys(app, job_id)) == 2
        sweep(app.extensions["likeness"])
        assert len(work_keys(app, job_id)) == 2
        with app.extensions["likeness"].database.session() as session:
            session.execute(update(Job).where(Job.id == job_id).values(finished_at=utc_now() - timedelta(days=2)))
        sweep(app.extensions["likeness"])
    assert work_keys(app, job_id) == []
    assert client.post(f"/v1/jobs/{job_id}/retry").get_json()["reason"] == "NOT_RETRYABLE"
    assert "input" not in job_of(app, job_id).parameters


# --- the queue ---


def test_lower_priorities_come_first(app: Any, stages: FakeStages) -> None:
    ids = {priority: queue(app, "Good morning.", priority=priority) for priority in (5, -3, 0)}
    with worker(stages, worker_jobs=1):
        for job_id in ids.values():
            assert ended(app, job_id).state == "succeeded"
    begun = {priority: job_of(app, job_id).started_at for priority, job_id in ids.items()}
    assert sorted(begun, key=lambda priority: begun[priority]) == [-3, 0, 5]  # type: ignore[arg-type, return-value]


def test_a_tenant_s_jobs_are_worked_on_a_few_at_a_time(app: Any, client: FlaskClient, stages: FakeStages) -> None:
    gateway = app.extensions["likeness"]
    from services.gateway.db import Tenant

    with gateway.database.session() as session:
        session.execute(update(Tenant).where(Tenant.id == "local").values(limits={"parallel_jobs": 1}))
    ids = [queue(app, f"A {HOLD_WORD}.") for _ in range(2)]
    with worker(stages, worker_jobs=4):
        wait_for(lambda: sorted(job_of(app, job_id).state for job_id in ids) == ["processing", "queued"])
        time.sleep(0.5)
        assert sorted(job_of(app, job_id).state for job_id in ids) == ["processing", "queued"]
        stages.doings.go_on.set()
        assert [ended(app, job_id).state for job_id in ids] == ["succeeded", "succeeded"]
    with gateway.database.session() as session:
        session.execute(update(Tenant).where(Tenant.id == "local").values(limits={}))


def test_a_job_that_is_not_committed_is_not_in_the_queue(app: Any, stages: FakeStages) -> None:
    gateway = app.extensions["likeness"]
    name = gateway.queue.prepare("local")
    with pytest.raises(RuntimeError), gateway.database.session() as session:
        made = queue_job(
            gateway.queue, session, name, tenant="local", kind="speech", request_id="", consent_id="", likeness_id="",
            parameters={}, deadline_s=60,
        )  # fmt: skip
        raise RuntimeError("the transaction fails")
    found = gateway.queue.client.list_workflows(workflow_ids=[f"{made.id}-1"])
    assert found == []


def test_of_all_ends_of_a_job_one_counts(app: Any) -> None:
    gateway = app.extensions["likeness"]
    job_id = queue(app, "Good morning.")
    outcome: list[bool] = []

    def end(state: Any) -> None:
        with gateway.database.session() as session:
            outcome.append(end_job_in(session, job_id, state, figures={}))

    threads = [threading.Thread(target=end, args=(state,)) for state in ("succeeded", "failed", "canceled") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome) == [False] * 8 + [True]
    with gateway.database.session() as session:
        told = session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.id)).all()
    assert [event.data["status"] for event in told][0] == "queued" and len(told) == 2


def test_of_a_batch_that_fails_no_item_is_left_waiting(app: Any, client: FlaskClient) -> None:
    gateway = app.extensions["likeness"]
    batch_id = queue(app, "Stands for the whole.")
    items = [queue(app, "An item.", batch_id=batch_id, batch_index=number) for number in range(3)]
    with gateway.database.session() as session:
        assert end_job_in(session, items[0], "succeeded", figures={})
        why = LikenessError("DEADLINE_EXCEEDED", "The time allowed for this job has passed.")
        assert end_job_in(session, batch_id, "failed", figures={}, error=why)
    ends = [(job_of(app, item).state, (job_of(app, item).error or {}).get("reason")) for item in items]
    assert ends == [("succeeded", None), ("canceled", "DEADLINE_EXCEEDED"), ("canceled", "DEADLINE_EXCEEDED")]
    assert client.post(f"/v1/jobs/{batch_id}/retry").status_code == 200
    assert [job_of(app, item).state for item in items] == ["succeeded", "queued", "queued"]
    client.post(f"/v1/jobs/{batch_id}/cancel")


# --- processes ---


def test_a_gateway_without_a_word_loses_the_work_that_only_it_could_end(app: Any) -> None:
    database = app.extensions["likeness"].database
    settings = app.extensions["likeness"].settings
    gone, here = new_id("gateway"), new_id("gateway")
    presence = Presence(database, settings, "gateway", here)
    presence.start()
    with database.session() as session:
        old = utc_now() - timedelta(minutes=1)
        session.add(Process(id=gone, kind="gateway", token="t", started_at=old, beat_at=old))
        ids = [
            start_job(
                session, tenant="local", kind="speech", request_id="", consent_id="", likeness_id="", parameters={},
                owner=owner,
            ).id
            for owner in (gone, here)
        ]  # fmt: skip
    assert forget_silent(database, 15.0) == [gone]
    assert [job_of(app, job_id).state for job_id in ids] == ["failed", "processing"]
    assert (job_of(app, ids[0]).error or {})["reason"] == "DRAINING"
    presence.stop()
    forget_silent(database, 15.0)
    assert job_of(app, ids[1]).state == "failed", "who says goodbye leaves nothing behind"


def test_what_was_claimed_but_never_begun_is_begun(app: Any, stages: FakeStages) -> None:
    """The database took the claim and went away before it answered: the worker does not know that it has the job."""
    gateway = app.extensions["likeness"]
    like = job_of(app, queue(app, "Good morning."))
    name = gateway.queue.prepare("local")
    schema = "" if gateway.database.is_sqlite else "dbos."
    claim = f"UPDATE {schema}workflow_status SET status='PENDING', executor_id='forgetful', owner_xid='x'"  # noqa: S608
    with worker_inside(settings_of(stages, process_beat_s=0.2, worker_id="forgetful")):
        with gateway.database.session() as session:
            job = queue_job(
                gateway.queue, session, name, tenant="local", kind="speech", request_id="", consent_id=like.consent_id,
                likeness_id=like.likeness_id, parameters=like.parameters, deadline_s=60,
            )  # fmt: skip
            session.execute(text(f"{claim} WHERE workflow_uuid = :id"), {"id": job.workflow_id})
        assert ended(app, job.id).state == "succeeded"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_another_worker_takes_over(app: Any, client: FlaskClient, stages: FakeStages, how: signal.Signals) -> None:
    """Killed, frozen or asked to stop: its job goes on elsewhere, and the frozen one ends when it wakes up."""
    stale_s = 10 * PROMPT_S if how is signal.SIGTERM else 3.0
    values = {**stages.targets(), "process_beat_s": 0.5, "process_stale_s": stale_s, "queue_poll_s": 0.1}
    first = WorkerProcess(stages.data_dir, f"first-{how.name}", **values)
    job_id = queue(app, f"A {HOLD_WORD}.")
    wait_for(lambda: job_of(app, job_id).owner == first.id and stages.doings.speakers)
    second = WorkerProcess(stages.data_dir, "second", **values)
    try:
        began_at = time.monotonic()
        first.signal(how)
        wait_for(lambda: job_of(app, job_id).owner == "second")
        if how is signal.SIGTERM:
            assert time.monotonic() - began_at < PROMPT_S, "not after the stale limit: at once"
            assert first.process.wait(PATIENCE_S) == 0
        stages.doings.go_on.set()
        job = ended(app, job_id)
        assert job.state == "succeeded", job.error
        if how is signal.SIGSTOP:
            first.signal(signal.SIGCONT)
            assert first.process.wait(PATIENCE_S) == 3, "it finds out that it was taken for gone"
        with app.extensions["likeness"].database.session() as session:
            made = select(func.count()).select_from(Media).where(Media.job_id == job_id)
            assert session.scalar(made) == 1
        metrics = httpx.get(second.metrics_url, timeout=PATIENCE_S).text
        assert 'likeness_jobs{kind="speech",state="processing"}' not in metrics
        assert "likeness_job_queue_depth 0.0" in metrics
        if how is not signal.SIGTERM:
            assert "likeness_job_takeovers_total 1.0" in metrics
    finally:
        second.close()
        if first.process.poll() is None:
            first.kill()


def test_a_worker_needs_no_web_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys, services.gateway.worker; "
        "print([name for name in ('flask', 'numba', 'scipy', 'onnxruntime') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_opening_twice_at_the_same_time_prepares_once(tmp_path: Path, stages: FakeStages) -> None:
    settings = GatewaySettings(data_dir=tmp_path, **stages.targets(tmp_path))
    failures: list[BaseException] = []

    def open_one() -> None:
        try:
            open_gateway(settings).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_reasons_that_are_waited_for_are_known() -> None:
    from services.gateway.jobs.execution import WAITED_FOR

    for reason in WAITED_FOR:
        LikenessError(reason, "known")
