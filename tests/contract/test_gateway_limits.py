"""Too much is refused with a word about when to come back, and never hangs."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.gateway.accounts.secrets import make_key
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import HOLD_WORD, FakeStages
from tests.contract.gateway_people import enrol_ada
from tests.ports import free_port
from tests.waiting import PROMPT_S, wait_for

REDIS_URL = os.environ.get("LIKENESS_TEST_REDIS_URL")  # redis://host:port of a server that may be written to


@pytest.fixture(params=["memory://", *([REDIS_URL] if REDIS_URL else [])])
def keyed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[KeyedGateway]:
    made = KeyedGateway(tmp_path, rate_limit_storage=request.param, failed_attempts_per_minute=3)
    yield made
    made.close()


def test_each_key_has_its_requests_per_minute(keyed: KeyedGateway) -> None:
    client = keyed.tenant("small", requests_per_minute=4)
    other = keyed.client(keyed.new_key(tenant="small", scopes=["read"])["key"])
    answers = [client.get("/v1/jobs") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429]
    assert answers[0].headers["RateLimit-Policy"] == '"requests";q=4;w=60'
    left = [int(re.search(r'^"requests";r=(\d+);t=\d+$', answer.headers["RateLimit"])[1]) for answer in answers]  # type: ignore[index]
    assert left == [3, 2, 1, 0, 0]
    refused = answers[-1]
    assert (refused.get_json()["reason"], refused.get_json()["error"]["type"]) == ("RATE_LIMITED", "rate_limit_error")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert other.get("/v1/jobs").status_code == 200, "another key of the tenant has its own"
    assert keyed.operator.get("/v1/jobs").headers["RateLimit-Policy"].startswith('"requests";q=6000;')
    for path in ("/healthz", "/metrics", "/docs"):
        assert client.get(path).status_code == 200
        assert "RateLimit" not in client.get(path).headers


def test_an_address_has_its_failed_attempts_and_valid_keys_are_not_held_against(keyed: KeyedGateway) -> None:
    wrong = keyed.client(make_key().text)
    answers = [(wrong if number % 2 else keyed.anonymous).get("/v1/jobs") for number in range(5)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
    assert answers[-1].get_json()["reason"] == "RATE_LIMITED"
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert keyed.operator.get("/v1/jobs").status_code == 200
    assert keyed.anonymous.get("/healthz").status_code == 200


def test_behind_a_proxy_each_caller_has_its_own_address(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path, failed_attempts_per_minute=1, trusted_proxies=1, host="0.0.0.0")
    for address in ("198.51.100.7", "198.51.100.8"):
        said = [{"X-Forwarded-For": f"{made_up}, {address}"} for made_up in ("203.0.113.1", "203.0.113.2")]
        assert [keyed.anonymous.get("/v1/jobs", headers=each).status_code for each in said] == [401, 429]
    origin = {"X-Forwarded-Host": "likeness.example", "Origin": "https://likeness.example"}
    assert keyed.operator.get("/v1/jobs", headers=origin).status_code == 200, "its own page, seen from outside"
    assert keyed.operator.get("/v1/jobs", headers={"Origin": "https://likeness.example"}).status_code == 403
    keyed.close()


def test_without_redis_each_process_counts_for_itself(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path, rate_limit_storage=f"redis://127.0.0.1:{free_port()}")
    client = keyed.tenant("small", requests_per_minute=2)
    assert [client.get("/v1/jobs").status_code for _ in range(3)] == [200, 200, 429]
    assert keyed.anonymous.get("/v1/jobs").status_code == 401
    keyed.close()


def test_a_tenant_may_have_so_many_jobs_at_the_same_time(tmp_path: Path) -> None:
    stages = FakeStages(tmp_path)
    keyed = KeyedGateway(tmp_path, **stages.targets())
    small = keyed.tenant("small", concurrent_jobs=1)
    for client in (small, keyed.operator):
        enrol_ada(client)
    body = {"voice": "Ada", "input": f"First words. {HOLD_WORD} and the rest.", "stream": False}
    short = {"voice": "Ada", "input": "Hello.", "response_format": "wav"}
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: small.post("/v1/audio/speech", json=body))
        wait_for(lambda: keyed.app.test_client().get("/v1/jobs", headers=_header(small)).get_json()["data"])
        began = time.monotonic()
        refused = keyed.app.test_client().post("/v1/audio/speech", json=short, headers=_header(small))
        assert (refused.status_code, refused.get_json()["reason"]) == (429, "QUEUE_FULL")
        assert int(refused.headers["Retry-After"]) >= 1
        assert time.monotonic() - began < PROMPT_S
        assert keyed.operator.post("/v1/audio/speech", json=short).status_code == 200, "another tenant is not affected"
        stages.doings.go_on.set()
        assert held.result().status_code == 200
    assert small.post("/v1/audio/speech", json=short).status_code == 200
    keyed.close()
    stages.close()


def test_more_than_a_stage_takes_is_refused_at_once_and_the_rest_is_done(tmp_path: Path) -> None:
    """Eight at the same time for a synthesizer that works on one and lets one wait."""
    stages = FakeStages(tmp_path, max_concurrency=1, max_queue_size=1)
    keyed = KeyedGateway(tmp_path, work_places=8, **stages.targets())
    enrol_ada(keyed.operator)
    body = {"voice": "Ada", "input": f"First words. {HOLD_WORD} and the rest.", "stream": False}

    def ask(_: int) -> tuple[int, float]:
        began = time.monotonic()
        answer = keyed.client(keyed.bootstrap_key).post("/v1/audio/speech", json=body)
        if answer.status_code == 429:
            assert (answer.get_json()["reason"], int(answer.headers["Retry-After"]) >= 1) == ("QUEUE_FULL", True)
        return answer.status_code, time.monotonic() - began

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(8)]
        wait_for(lambda: sum(one.done() for one in asked) >= 6)
        refused = [one.result() for one in asked if one.done()]
        stages.doings.go_on.set()
        answers = [one.result() for one in asked]
    assert {status for status, _ in refused} == {429}
    assert max(seconds for _, seconds in refused) < PROMPT_S
    assert sorted(status for status, _ in answers) == [200, 200, 429, 429, 429, 429, 429, 429]
    keyed.close()
    stages.close()


def test_a_body_may_have_so_many_bytes(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path, max_upload_bytes=2000)
    large = keyed.operator.post("/v1/faces", data={"consent": "x", "picture": (io.BytesIO(b"x" * 3000), "x.png")})
    assert (large.status_code, large.get_json()["reason"]) == (413, "MEDIA_TOO_LARGE")
    long = keyed.operator.post("/v1/face_consents", json={"who": "x", "kind": "synthetic", "evidence": "y" * 3000})
    assert long.status_code == 413
    keyed.close()


def _header(client: object) -> dict[str, str]:
    return {"Authorization": client.environ_base["HTTP_AUTHORIZATION"]}  # type: ignore[attr-defined]
