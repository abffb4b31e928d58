"""Watching jobs: what server-sent events tell, where they continue, when they end, and how many may watch."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.common.errors import LikenessError
from services.gateway import watching
from services.gateway.app import create_app
from services.gateway.context import Gateway
from services.gateway.db import LOCAL_TENANT, Job, Tenant
from services.gateway.db.models import utc_now
from services.gateway.jobs import QueueOptions, cancel_job, end_job, queue_job, report_progress
from services.gateway.jobs.records import begin_job
from services.gateway.settings import GatewaySettings
from tests.databases import database_url
from tests.waiting import PATIENCE_S, PROMPT_S

WATCHERS = 2


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("events")
    made = create_app(GatewaySettings(data_dir=folder, database_url=database_url(folder), job_watchers=WATCHERS))
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def gateway(app: Any) -> Gateway:
    return app.extensions["likeness"]  # type: ignore[no-any-return]


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.02)


def queued(gateway: Gateway, *, tenant: str = LOCAL_TENANT, priority: int = 0, kind: Any = "swap") -> str:
    name = gateway.queue.prepare(tenant)
    with gateway.database.session() as session:
        job = queue_job(
            gateway.queue,
            session,
            name,
            tenant=tenant,
            kind=kind,
            request_id="r",
            consent_id="consent_1",
            likeness_id="face_1",
            parameters={},
            deadline_s=60.0,
            options=QueueOptions(priority=priority),
        )
    return job.id


def begin(gateway: Gateway, job_id: str) -> None:
    with gateway.database.session() as session:
        assert begin_job(session, job_id, workflow_id=f"{job_id}-1", owner="worker_1")


def end(gateway: Gateway, job_id: str, state: Any = "succeeded", error: LikenessError | None = None) -> None:
    assert end_job(gateway.database, job_id, state, figures={}, error=error)


@dataclass
class Event:
    id: int | None = None
    kind: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def events(text: str) -> list[Event]:
    """Reads a stream as browsers do (https://html.spec.whatwg.org/#event-stream-interpretation)."""
    found = []
    for block in text.split("\n\n"):
        event = Event()
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            if name == "id":
                event.id = int(value)
            elif name == "event":
                event.kind = value
            elif name == "data":
                event.data = json.loads(value)
        if event.kind:
            found.append(event)
    return found


def watch(client: FlaskClient, job_id: str, after: int | None = None) -> list[Event]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    response = client.get(f"/v1/jobs/{job_id}/events", headers=headers)
    assert response.status_code == 200, response.text
    assert response.mimetype == "text/event-stream"
    return events(response.text)


def test_all_that_happened_is_told_in_order_and_ends_with_the_job(client: FlaskClient, gateway: Gateway) -> None:
    job_id = queued(gateway)

    def work() -> None:
        time.sleep(0.1)
        begin(gateway, job_id)
        for done in (10, 20):
            report_progress(gateway.database, job_id, {"phase": "swapping", "frames_done": done}, tell=True)
            time.sleep(0.05)
        end(gateway, job_id, "failed", LikenessError("FACE_NOT_FOUND", "There is none."))

    worker = threading.Thread(target=work)
    worker.start()
    told = watch(client, job_id)
    worker.join()
    assert [(event.kind, event.data.get("status") or event.data.get("frames_done")) for event in told] == [
        ("state", "queued"),
        ("state", "processing"),
        ("progress", 10),
        ("progress", 20),
        ("state", "failed"),
    ]
    assert told[-1].data["error"]["reason"] == "FACE_NOT_FOUND"
    ids = [event.id for event in told]
    assert None not in ids and ids == sorted(ids, key=int) and len(set(ids)) == 5


def test_a_watcher_continues_where_it_was(client: FlaskClient, gateway: Gateway) -> None:
    job_id = queued(gateway)
    begin(gateway, job_id)
    report_progress(gateway.database, job_id, {"phase": "swapping", "frames_done": 1}, tell=True)
    end(gateway, job_id)
    all_of_them = watch(client, job_id)
    assert len(all_of_them) == 4
    for number, event in enumerate(all_of_them[:-1]):
        assert watch(client, job_id, after=event.id) == all_of_them[number + 1 :]
    gone = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(all_of_them[-1].id)})
    assert (gone.status_code, gone.data) == (204, b""), "a browser connects no more after this"
    for bad in ("x", "-1", "1" * 19, "١"):
        refused = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": bad.encode().decode("latin-1")})
        assert refused.status_code == 400
        assert refused.get_json()["field"] == "Last-Event-ID"


def test_more_events_than_are_read_at_once(
    client: FlaskClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BLOCK", 3)
    job_id = queued(gateway)
    begin(gateway, job_id)
    for done in range(10):
        report_progress(gateway.database, job_id, {"phase": "swapping", "frames_done": done}, tell=True)
    end(gateway, job_id)
    told = watch(client, job_id)
    assert [event.data["frames_done"] for event in told if event.kind == "progress"] == list(range(10))
    assert told[-1].data["status"] == "succeeded"


def test_quiet_streams_have_heartbeats(client: FlaskClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "HEARTBEAT_S", 0.05)
    job_id = queued(gateway)
    text, ended = "", False
    with client.get(f"/v1/jobs/{job_id}/events") as stream:
        for piece in stream.response:  # as it comes
            text += piece.decode()
            if not ended and text.count(": still here\n\n") == 2:
                ended = True
                end(gateway, job_id)
    assert ended and text.startswith("retry: 1000\n\n")
    assert text.rstrip().splitlines()[-1].startswith("data: ")


def test_only_some_may_watch_and_each_place_is_given_back(client: FlaskClient, gateway: Gateway) -> None:
    job_id = queued(gateway)
    streams = [client.get(f"/v1/jobs/{job_id}/events") for _ in range(WATCHERS)]
    refused = client.get(f"/v1/jobs/{job_id}/events")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    streams.pop().close()
    streams.append(client.get(f"/v1/jobs/{job_id}/events"))
    assert streams[-1].status_code == 200
    end(gateway, job_id)
    for stream in streams:
        assert events(stream.text)[-1].data["status"] == "succeeded"
        stream.close()
    for _ in range(2 * WATCHERS):
        with client.get(f"/v1/jobs/{job_id}/events") as stream:
            assert stream.status_code == 200


def test_streams_end_when_the_gateway_stops(tmp_path: Path) -> None:
    app = create_app(GatewaySettings(data_dir=tmp_path, database_url=database_url(tmp_path)))
    own: Gateway = app.extensions["likeness"]
    job_id = queued(own)
    stream = app.test_client().get(f"/v1/jobs/{job_id}/events")
    threading.Timer(0.2, own.begin_to_stop).start()
    assert [event.data["status"] for event in events(stream.text)] == ["queued"]
    refused = app.test_client().get(f"/v1/jobs/{job_id}/events")
    assert (refused.status_code, refused.get_json()["reason"]) == (503, "DRAINING")
    own.close()


def test_waiting_ends_with_the_job_or_with_the_time(gateway: Gateway) -> None:
    job_id = queued(gateway)
    began_at = time.monotonic()
    assert not watching.wait_for_end(gateway, job_id, 0.2)
    assert 0.19 < time.monotonic() - began_at < PROMPT_S
    threading.Timer(0.2, lambda: end(gateway, job_id)).start()
    assert watching.wait_for_end(gateway, job_id, PATIENCE_S)
    assert time.monotonic() - began_at < 2 * PROMPT_S


def test_position_in_the_queue_is_among_ones_own(client: FlaskClient, gateway: Gateway) -> None:
    with gateway.database.session() as session:
        session.merge(Tenant(id="other", created_at=utc_now(), limits={}, webhook_secret="whsec_AAAA"))
    first, second, urgent = queued(gateway), queued(gateway), queued(gateway, priority=-5)
    foreign = queued(gateway, tenant="other")

    def position(job_id: str) -> Any:
        return client.get(f"/v1/jobs/{job_id}").get_json()["queue_position"]

    assert [position(job_id) for job_id in (urgent, first, second)] == [1, 2, 3]
    begin(gateway, urgent)
    assert position(urgent) is None
    assert position(first) == 1
    assert client.get(f"/v1/jobs/{foreign}").status_code == 404
    assert client.get(f"/v1/jobs/{foreign}/events").status_code == 404
    for job_id in (first, second, urgent):
        with gateway.database.session() as session:
            cancel_job(session, session.get_one(Job, job_id))


def test_jobs_are_filtered(client: FlaskClient, gateway: Gateway) -> None:
    speech, swap = queued(gateway, kind="speech"), queued(gateway)
    end(gateway, speech, "canceled")

    def listed(**query: Any) -> set[str]:
        page = client.get("/v1/jobs", query_string={"limit": 100, **query}).get_json()
        return {job["id"] for job in page["data"]} & {speech, swap}

    assert listed() == {speech, swap}
    assert listed(status="queued") == {swap}
    assert listed(status="canceled", kind="speech") == {speech}
    assert listed(kind="swap", status="canceled") == set()
    assert client.get("/v1/jobs?status=done").get_json()["field"] == "status"


def test_a_failed_job_is_retried(client: FlaskClient, gateway: Gateway) -> None:
    job_id = queued(gateway)
    assert client.post(f"/v1/jobs/{job_id}/retry").get_json()["reason"] == "NOT_RETRYABLE"
    begin(gateway, job_id)
    end(gateway, job_id, "failed", LikenessError("INTERNAL", "broke"))
    retried = client.post(f"/v1/jobs/{job_id}/retry").get_json()
    assert (retried["status"], retried["attempt"], retried["error"]) == ("queued", 2, None)
    end(gateway, job_id)
    told = [event.data["status"] for event in watch(client, job_id)]
    assert told == ["queued", "processing", "failed", "queued", "succeeded"]
    assert client.post("/v1/jobs/job_nobody/retry").status_code == 404


def test_webhook_secret_is_shown_and_changed(client: FlaskClient) -> None:
    before = client.get("/v1/webhooks/secret").get_json()
    assert before["secret"].startswith("whsec_")
    rotated = client.post("/v1/webhooks/secret/rotate").get_json()
    assert rotated["secret"] != before["secret"]
    assert rotated["old_secret_until"] > time.time() + 80_000
    assert client.get("/v1/webhooks/secret").get_json() == rotated
