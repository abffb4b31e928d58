"""Jobs and batches by client and command line, against a server that answers as told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import likeness
from likeness import _jobs
from likeness._cli.app import run
from likeness._cli.batch import progress_table
from likeness._jobs import read_events
from tests.unit.likeness_scripted_gateway import Answer, ScriptedGateway, json_answer, problem, scripted_gateway

JOB = {"id": "job_1", "kind": "speech", "status": "succeeded", "created_at": 1_700_000_000, "media": "media_1"}
STREAM = {"Content-Type": "text/event-stream"}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    monkeypatch.setattr(_jobs, "RECONNECT_S", 0.01)
    monkeypatch.setattr(_jobs, "MAX_POLL_S", 0.01)
    with scripted_gateway() as server:
        monkeypatch.setenv("LIKENESS_URL", server.url)
        yield server


@pytest.fixture
def client(gateway: ScriptedGateway) -> Iterator[likeness.Client]:
    with likeness.Client(gateway.url, timeout=60) as made:
        yield made


def event(number: int | None, kind: str, **data: Any) -> bytes:
    first = b"" if number is None else f"id: {number}\n".encode()
    return first + f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def listed(*jobs: Any, more: bool = False) -> Answer:
    ids = [job["id"] for job in jobs]
    return json_answer({"data": list(jobs), "has_more": more, "last_id": ids[-1] if ids else None})


def test_events_are_read_as_the_standard_says() -> None:
    lines = [
        ": a comment",
        "retry: 1000",
        "",
        "id: 7",
        "event: state",
        'data: {"status":',
        'data:  "queued"}',
        "",
        "event: nothing",
        "",
        'data: {"a": 1}',
        "",
        "id: 9",
        "event: state",
        'data: {"never": "ended"}',
    ]
    assert list(read_events(lines)) == [
        likeness.JobEvent("state", {"status": "queued"}, 7),
        likeness.JobEvent("message", {"a": 1}, None),
    ]


def test_watching_goes_on_where_the_connection_broke(gateway: ScriptedGateway, client: likeness.Client) -> None:
    first = event(3, "state", status="queued") + event(4, "progress", phase="speaking", done=1)
    rest = event(5, "state", status="succeeded")
    gateway.answers["GET /v1/jobs/job_1/events"] = [
        Answer(200, first, STREAM, truncated=True),
        problem(503, "The server is shutting down", "about to stop", "DRAINING"),
        Answer(200, rest, STREAM),
    ]
    told = list(client.jobs.watch("job_1"))
    assert [item.id for item in told] == [3, 4, 5]
    asked = [request.headers.get("Last-Event-ID") for request in gateway.asked]
    assert asked == [None, "4", "4"]


def test_watching_gives_up_on_a_server_that_is_gone(gateway: ScriptedGateway, client: likeness.Client) -> None:
    gateway.answers["GET /v1/jobs/job_1/events"] = Answer(200, b"", STREAM, truncated=True)
    with pytest.raises(likeness.LikenessConnectionError):
        list(client.jobs.watch("job_1"))
    assert len(gateway.asked) == _jobs.MAX_RECONNECTS + 1
    with pytest.raises(likeness.LikenessAPIError) as missing:
        list(client.jobs.watch("job_2"))
    assert missing.value.status == 404


def test_where_too_many_watch_the_job_is_asked_for(gateway: ScriptedGateway, client: likeness.Client) -> None:
    gateway.answers["GET /v1/jobs/job_1/events"] = problem(429, "Too many", "all places are taken", "QUEUE_FULL", "5")
    gateway.answers["GET /v1/jobs/job_1"] = [
        json_answer({**JOB, "status": "queued"}),
        json_answer({**JOB, "status": "processing", "progress": {"phase": "speaking"}}),
        json_answer({**JOB, "progress": {"phase": "speaking"}}),
    ]
    told = [(item.kind, item.data.get("status") or item.data.get("phase")) for item in client.jobs.watch("job_1")]
    assert told == [
        ("progress", None),
        ("state", "queued"),
        ("progress", "speaking"),
        ("state", "processing"),
        ("state", "succeeded"),
    ]


def test_watching_what_has_been_seen_to_its_end(gateway: ScriptedGateway, client: likeness.Client) -> None:
    gateway.answers["GET /v1/jobs/job_1/events"] = Answer(204, b"", {})
    gateway.answers["GET /v1/jobs/job_1"] = json_answer(JOB)
    assert list(client.jobs.watch("job_1", after=9)) == [likeness.JobEvent("state", {"status": "succeeded"})]


def test_lists_are_filtered_and_limited(gateway: ScriptedGateway, client: likeness.Client) -> None:
    jobs = [{**JOB, "id": f"job_{number}"} for number in range(150)]
    gateway.answers["GET /v1/jobs?limit=100&status=failed"] = listed(*jobs[:100], more=True)
    gateway.answers["GET /v1/jobs?limit=20&after=job_99&status=failed"] = listed(*jobs[100:120], more=True)
    found = client.jobs.list(status="failed", limit=120)
    assert [job.id for job in found] == [f"job_{number}" for number in range(120)]


def test_command_line_lists_shows_and_retries(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    running = {**JOB, "id": "job_2", "status": "processing", "progress": {"phase": "running", "done": 3, "total": 9}}
    gateway.answers["GET /v1/jobs?limit=20"] = listed(running, JOB)
    assert run(["jobs", "list"]) == 0
    out = capsys.readouterr().out
    assert "job_2" in out and "3/9" in out and "media_1" in out
    assert run(["jobs", "list", "--status", "done"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    gateway.answers["GET /v1/jobs/job_3"] = json_answer({**JOB, "id": "job_3", "status": "queued", "queue_position": 4})
    assert run(["jobs", "show", "job_3"]) == 0
    assert "place in the queue" in capsys.readouterr().out
    gateway.answers["POST /v1/jobs/job_1/retry"] = json_answer({**JOB, "status": "queued", "attempt": 2})
    assert run(["jobs", "retry", "job_1"]) == 0
    assert capsys.readouterr().out == "job_1: queued, attempt 2\n"
    gateway.answers["DELETE /v1/jobs/job_1"] = json_answer({"id": "job_1", "object": "job", "deleted": True})
    assert run(["jobs", "delete", "job_1"]) == 0


def test_command_line_watches_to_the_end(gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"reason": "DEADLINE_EXCEEDED", "detail": "The time is up.", "field": None}
    gateway.answers["GET /v1/jobs/job_1"] = [
        json_answer({**JOB, "status": "processing"}),
        json_answer({**JOB, "status": "failed", "error": error}),
    ]
    gateway.answers["GET /v1/jobs/job_1/events"] = Answer(200, event(1, "state", status="failed", error=error), STREAM)
    assert run(["jobs", "watch", "job_1"]) == 1
    told = capsys.readouterr()
    assert "DEADLINE_EXCEEDED" in told.out
    assert "job_1 failed: The time is up." in told.err


def test_cancelled_batch_tells_so(gateway: ScriptedGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch = {"id": "job_9", "status": "in_progress", "created_at": 1, "request_counts": {"total": 2}}
    gateway.answers["POST /v1/batches"] = json_answer(batch, 201)
    gateway.answers["GET /v1/batches/job_9"] = json_answer({**batch, "status": "cancelled"})
    (tmp_path / "requests.jsonl").write_text("{}\n")
    arguments = ["batch", "run", str(tmp_path / "requests.jsonl"), "--out", str(tmp_path / "out.jsonl")]
    assert run([*arguments, "--priority", "3", "--deadline", "60"]) == 1
    assert "job_9 was cancelled" in capsys.readouterr().err
    sent = gateway.asked[0].body
    assert b'name="priority"\r\n\r\n3\r\n' in sent and b'name="deadline_seconds"\r\n\r\n60.0\r\n' in sent
    assert not (tmp_path / "out.jsonl").exists()


def test_live_table_shows_counts_rate_and_time_left() -> None:
    counts = likeness.BatchCounts(total=200, completed=50, failed=3)
    batch = likeness.Batch("job_9", "in_progress", 1, counts, rate=4.25, seconds_left=34.6)
    cells = [next(iter(column.cells)) for column in progress_table(batch).columns]
    assert cells[0] == "in_progress"
    assert math.isclose(cells[1].completed / cells[1].total, 53 / 200)
    assert cells[2:] == ["50", "3", "200", "4.2", "35 s"]
