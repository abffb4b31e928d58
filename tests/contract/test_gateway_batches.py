"""Batches: what a file may hold, what is said of one that does not, and what the results are like."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import likeness
from likeness._cli.app import run
from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import BREAK_WORD, FakeStages, portrait, sine, spoken_seconds
from tests.contract.gateway_process import GatewayProcess
from tests.contract.gateway_worker import WorkerProcess
from tests.waiting import wait_for

SPEECH = "/v1/audio/speech"


def line(custom_id: Any, text: str = "Good morning.", **body: Any) -> dict[str, Any]:
    content = {"input": text, "voice": "Ada", "response_format": "wav", **body}
    return {"custom_id": custom_id, "method": "POST", "url": SPEECH, "body": content}


def jsonl(*lines: Any) -> bytes:
    return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in lines).encode() + b"\n"


def furnish(client: httpx.Client) -> None:
    """A voice called Ada and a face called Bob."""
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    consent = client.post("/v1/audio/voice_consents", json=body).json()["id"]
    sample = {"audio_sample": ("ada.wav", encode_audio(sine(200.0, 2.0), "wav"), "audio/wav")}
    data = {"name": "Ada", "consent": consent, "calibration": "fast"}
    assert client.post("/v1/audio/voices", data=data, files=sample).status_code == 201
    consent = client.post("/v1/face_consents", json=body).json()["id"]
    picture = {"picture": ("bob.png", portrait(), "image/png")}
    assert client.post("/v1/faces", data={"name": "Bob", "consent": consent}, files=picture).status_code == 201


# --- a gateway with a worker ---


class Stack:
    def __init__(self, folder: Path) -> None:
        self.stages = FakeStages(folder)
        settings = {**self.stages.targets(), "webhook_allow_loopback": "true"}
        self.gateway = GatewayProcess(folder, **settings)
        self.client = self.gateway.client
        furnish(self.client)
        self.worker = WorkerProcess(folder, **settings)

    def close(self) -> None:
        self.worker.close()
        self.gateway.close()
        self.stages.close()

    def create(self, content: bytes, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/batches", data=fields, files={"file": ("b.jsonl", content)})

    def finished(self, batch_id: str) -> dict[str, Any]:
        def ended() -> Any:
            batch = self.client.get(f"/v1/batches/{batch_id}").json()
            return None if batch["status"] in ("in_progress", "finalizing") else batch

        return wait_for(ended)  # type: ignore[no-any-return]

    def results(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        content = self.client.get(f"/v1/files/{batch['output_file_id']}/content").text
        return [json.loads(item) for item in content.splitlines()]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(tmp_path_factory.mktemp("batches"))
    yield made
    made.close()


def test_one_file_of_results_has_what_succeeded_and_what_did_not(stack: Stack) -> None:
    target = stack.client.post(
        "/v1/swaps", data={"face": "Bob"}, files={"target": ("t.png", portrait(80), "image/png")}
    ).json()["target_media"]
    swap = {"custom_id": "swap", "method": "POST", "url": "/v1/swaps", "body": {"face": "Bob", "target_media": target}}
    texts = [f"This is number {number}." for number in range(6)]
    created = stack.create(
        jsonl(*(line(f"n{i}", text) for i, text in enumerate(texts)), swap, line("ill", f"All is {BREAK_WORD}")),
        metadata=json.dumps({"of": "a test"}),
    )
    assert created.status_code == 201, created.text
    assert created.headers["Location"] == f"/v1/batches/{created.json()['id']}"
    assert created.json()["request_counts"] == {"total": 8, "completed": 0, "failed": 0}
    batch = stack.finished(created.json()["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 8, "completed": 7, "failed": 1}
    assert batch["metadata"] == {"of": "a test"}
    results = stack.results(batch)
    assert [item["custom_id"] for item in results] == [f"n{i}" for i in range(6)] + ["swap", "ill"]
    for text, item in zip(texts, results, strict=False):
        assert (item["response"]["status_code"], item["error"]) == (200, None)
        audio = decode_audio(stack.client.get(item["response"]["body"]["media_url"]).content)
        assert audio.duration_s == pytest.approx(spoken_seconds(text), abs=0.01)
    assert results[6]["response"]["status_code"] == 201
    assert stack.client.get(results[6]["response"]["body"]["media_url"]).headers["content-type"] == "image/png"
    ill = results[7]
    assert ill["response"]["status_code"] == 500
    assert ill["response"]["body"]["reason"] == "INTERNAL"
    assert "calamity" in ill["error"]["message"]
    items = stack.client.get("/v1/jobs", params={"batch": batch["id"]}).json()["data"]
    assert {item["custom_id"] for item in items} == {item["custom_id"] for item in results}
    listed = stack.client.get("/v1/jobs").json()["data"]
    assert {item["batch"] for item in listed} == {None}, "items are not listed among other jobs"


def test_openai_client_runs_a_batch(stack: Stack) -> None:
    client = openai.OpenAI(base_url=f"{stack.gateway.url}/v1", api_key="none", max_retries=0)
    file = client.files.create(file=("b.jsonl", jsonl(line("a"), line("b"))), purpose="batch")
    assert (file.object, file.purpose, file.status) == ("file", "batch", "processed")
    created = client.batches.create(
        input_file_id=file.id,
        endpoint=SPEECH,  # type: ignore[arg-type]
        completion_window="24h",
        metadata={"night": "1"},
    )
    assert created.input_file_id == file.id
    batch = wait_for(lambda: (b := client.batches.retrieve(created.id)).status == "completed" and b)
    assert batch.request_counts.completed == 2
    text = client.files.content(batch.output_file_id).text
    assert [json.loads(item)["custom_id"] for item in text.splitlines()] == ["a", "b"]
    assert created.id in [item.id for item in client.batches.list(limit=100)]
    assert file.id in [item.id for item in client.files.list()]
    assert client.files.retrieve(batch.output_file_id).purpose == "batch_output"
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    assert refused.value.param == "endpoint"


def test_cancelled_batch_stops_and_keeps_what_was_done(stack: Stack) -> None:
    stack.stages.doings.go_on.clear()
    created = stack.create(jsonl(*(line(str(number), "intermission") for number in range(30)))).json()
    wait_for(lambda: stack.client.get(f"/v1/jobs/{created['id']}").json()["status"] == "processing")
    cancelled = stack.client.post(f"/v1/batches/{created['id']}/cancel").json()
    stack.stages.doings.go_on.set()
    assert cancelled["status"] == "cancelled"
    assert cancelled["request_counts"]["failed"] == 30
    items = stack.client.get("/v1/jobs", params={"batch": created["id"], "limit": 100}).json()["data"]
    assert {item["status"] for item in items} == {"canceled"}
    assert stack.client.delete(f"/v1/jobs/{created['id']}").json()["deleted"] is True
    assert stack.client.get("/v1/jobs", params={"batch": created["id"]}).json()["data"] == []


def test_command_line_runs_a_batch(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests, out = tmp_path / "requests.jsonl", tmp_path / "results.jsonl"
    requests.write_bytes(jsonl(line("one"), line("two/2", "And again."), line("three", f"No {BREAK_WORD} here.")))
    url = ["--url", stack.gateway.url]
    assert run(["batch", "run", str(requests), "--out", str(out), "--media", str(tmp_path / "m"), *url]) == 1
    told = capsys.readouterr()
    assert told.out == f"{out}: 2 of 3 done, 2 files in {tmp_path / 'm'}\n"
    assert "three: The synthesizer met a calamity." in told.err
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["2-two_2.wav", "one.wav"]
    assert decode_audio((tmp_path / "m" / "one.wav").read_bytes()).duration_s > 0.1
    requests.write_bytes(jsonl(line("one"), {"custom_id": "x"}))
    assert run(["batch", "run", str(requests), "--out", str(out), *url]) == 2
    assert "line 2" in capsys.readouterr().err
    assert run(["batch", "run", str(tmp_path / "nothing"), "--out", str(out), *url]) == 2
    assert run(["batch", "list", *url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "completed"


def test_python_client_runs_a_batch(stack: Stack, tmp_path: Path) -> None:
    with likeness.Client(stack.gateway.url) as client:
        seen: list[likeness.Batch] = []
        batch = client.batches.create(jsonl(line("a"), line("b")), endpoint=SPEECH, metadata={"k": "v"})
        done = client.batches.wait(batch.id, 60, on_progress=seen.append)
        assert done.request_counts == likeness.BatchCounts(2, 2, 0)
        assert seen[-1] == done and done.metadata == {"k": "v"}
        out = io.BytesIO()
        client.batches.save_results(done, out)
        assert len(out.getvalue().splitlines()) == 2
        events = list(client.jobs.watch(batch.id))
        assert events[-1].data["status"] == "succeeded"
        again = list(client.jobs.watch(batch.id, after=events[1].id))
        assert again == events[2:]
        assert client.jobs.list(kind="batch", limit=1)[0].id == batch.id
        client.jobs.delete(batch.id)


# --- what is refused ---


@pytest.fixture(scope="module")
def checking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway without worker, for files that are checked."""
    folder = tmp_path_factory.mktemp("batch-lines")
    stages = FakeStages(folder)
    app = create_app(GatewaySettings(data_dir=folder, batch_items=5, **stages.targets()))
    client = app.test_client()
    body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    for name in ("Ada", "Eve"):
        consent = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
        sample = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
        client.post("/v1/audio/voices", data={"name": name, "consent": consent, "audio_sample": sample})
    client.post(f"/v1/audio/voice_consents/{consent}/revoke")
    yield client
    app.extensions["likeness"].close()
    stages.close()


def refused(client: Any, content: bytes, **fields: Any) -> list[tuple[str, str]]:
    response = client.post("/v1/batches", data={"file": (io.BytesIO(content), "b.jsonl"), **fields})
    assert response.status_code == 400, response.text
    problem = response.get_json()
    assert problem["reason"] == "INVALID_FIELD"
    return [(item["field"], item["detail"]) for item in problem["errors"]]


def test_every_fault_is_told_with_its_line(checking: Any) -> None:
    errors = dict(
        refused(
            checking,
            jsonl(
                line("fine"),
                "{not json",
                "[1]",
                {"custom_id": "x"},
                line("fine"),
                "",
                {**line("a"), "url": "/v1/embeddings"},
                {**line("b"), "method": "GET"},
                line("c", voice="Nobody"),
                line("d", voice="Eve"),
                line("e", speed=99),
                line("f", colour="red"),
                line("g", webhook_url="https://example.com"),
                line("h", stream=True),
                line("i", model="nothing"),
                line(7),
                {**line("j"), "url": "/v1/swaps", "body": {"face": "Bob", "target": "x"}},
            ),
        )
    )
    assert set(errors) == {
        "line 2",
        "line 3",
        "line 4: url",
        "line 4: body",
        "line 5: custom_id",
        "line 7: url",
        "line 8: method",
        "line 9: body.voice",
        "line 10: body.voice",
        "line 11: body.speed",
        "line 12: body.colour",
        "line 13: body.webhook_url",
        "line 14: body.stream",
        "line 15: body.model",
        "line 16: custom_id",
        "line 17: body.target",
    }
    assert errors["line 5: custom_id"] == "is that of line 1, too"
    assert "revoked" in errors["line 10: body.voice"]
    assert checking.get("/v1/batches").get_json()["data"] == [], "nothing is begun"


def test_limits_of_a_file(checking: Any) -> None:
    assert "has no request" in refused(checking, b"\n\n")[0][1]
    assert "5 requests at most" in refused(checking, jsonl(*(line(str(number)) for number in range(6))))[0][1]
    assert "longer than" in refused(checking, jsonl(line("a", "x" * 300_000)))[0][1]
    assert "differs from" in refused(checking, jsonl(line("a")), endpoint="/v1/swaps")[0][1]
    assert refused(checking, jsonl(line("a")), endpoint="/v1/voices")[0][0] == "endpoint"
    assert refused(checking, jsonl(line("a")), metadata="[1]")[0][0] == "metadata"
    assert refused(checking, jsonl(line("a")), webhook_url="https://10.0.0.1/")[0][0] == "webhook_url"
    assert refused(checking, b"\xff\xfe{}")[0][0] == "line 1"
    many = refused(checking, b"{}\n" * 2000)
    assert len(many) == 1000


def test_input_of_another_kind_is_refused(checking: Any) -> None:
    voice = checking.get("/v1/audio/voices").get_json()["data"][0]
    response = checking.post("/v1/batches", json={"input_file_id": voice["sample_media"]})
    assert response.status_code == 400
    assert response.get_json()["field"] == "input_file_id"
    assert checking.post("/v1/batches", json={"input_file_id": "media_1"}).status_code == 404
    assert checking.post("/v1/batches", json={}).get_json()["field"] == "input_file_id"
    assert checking.get(f"/v1/files/{voice['sample_media']}").status_code == 404, "only files of batches are files"
