"""What every resource has in common: entity tags, origins, request ids, pages of problems."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.errors import REASONS
from services.gateway.accounts.bootstrap import refusal_to_listen
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_people import CONSENT
from tests.databases import database_url

APP = "https://app.example.org"


@pytest.fixture(scope="module")
def keyed() -> Iterator[KeyedGateway]:
    with tempfile.TemporaryDirectory() as folder:
        made = KeyedGateway(Path(folder), cors_origins=(APP, "https://second.example.org"))
        yield made
        made.close()


def test_what_has_not_changed_is_not_sent_again(keyed: KeyedGateway) -> None:
    consent = keyed.operator.post("/v1/face_consents", json=CONSENT).get_json()
    path = f"/v1/face_consents/{consent['id']}"
    first = keyed.operator.get(path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    same = keyed.operator.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.get_data(), same.headers["ETag"]) == (304, b"", first.headers["ETag"])
    keyed.operator.post(f"{path}/revoke")
    changed = keyed.operator.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.get_json()["state"]) == (200, "revoked")
    assert changed.headers["ETag"] != first.headers["ETag"]
    listed = keyed.operator.get("/v1/face_consents")
    assert keyed.operator.get("/v1/face_consents", headers={"If-None-Match": listed.headers["ETag"]}).status_code == 304
    assert "ETag" not in keyed.operator.get("/v1/faces/nobody").headers


def test_request_ids_are_taken_and_returned(keyed: KeyedGateway) -> None:
    given = keyed.operator.get("/v1/jobs", headers={"X-Request-Id": "trace-17"})
    assert given.headers["X-Request-Id"] == "trace-17"
    problem = keyed.operator.get("/v1/jobs/none", headers={"X-Request-Id": "trace-18"})
    assert problem.get_json()["request_id"] == "trace-18"
    made = {keyed.operator.get("/v1/jobs").headers["X-Request-Id"] for _ in range(3)}
    assert len(made) == 3


def test_pages_of_an_allowed_origin_may_use_the_api(keyed: KeyedGateway) -> None:
    asked = keyed.anonymous.options(
        "/v1/audio/voice_consents",
        headers={
            "Origin": APP,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
        },
    )
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == APP
    allowed = {name.strip().lower() for name in asked.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type", "idempotency-key"} <= allowed
    made = keyed.operator.post("/v1/audio/voice_consents", json=CONSENT, headers={"Origin": APP})
    assert made.status_code == 201
    assert made.headers["Access-Control-Allow-Origin"] == APP
    assert "Retry-After" in made.headers["Access-Control-Expose-Headers"]
    assert "Origin" in made.headers["Vary"]
    refused = keyed.anonymous.get("/v1/jobs", headers={"Origin": APP})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, APP), "the page can read why"
    for answer in (asked, made, refused):
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.org.evil.example", "http://app.example.org", "null"]
)
def test_pages_of_other_origins_may_not(keyed: KeyedGateway, origin: str) -> None:
    refused = keyed.operator.get("/v1/jobs", headers={"Origin": origin})
    assert (refused.status_code, refused.get_json()["reason"]) == (403, "ORIGIN_REFUSED")
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert "Access-Control-Allow-Origin" not in keyed.anonymous.options("/v1/jobs", headers={"Origin": origin}).headers


def test_by_default_no_other_origin_may(tmp_path: Path) -> None:
    app = create_app(GatewaySettings(data_dir=tmp_path, database_url=database_url(tmp_path), log_level="error"))
    client = app.test_client()
    assert client.get("/v1/jobs", headers={"Origin": APP}).status_code == 403
    own = client.get("/v1/jobs", headers={"Origin": "http://localhost"})
    assert own.status_code == 200
    assert "Access-Control-Allow-Origin" not in own.headers
    app.extensions["likeness"].close()


def test_any_origin_is_only_for_gateways_that_ask_for_keys(keyed: KeyedGateway) -> None:
    everybody = keyed.settings.model_copy(update={"cors_origins": ("*",)})
    assert refusal_to_listen(replace(keyed.gateway, settings=everybody)) is None
    open_to_all = everybody.model_copy(update={"auth": "auto"})
    assert "LIKENESS_CORS_ORIGINS" in str(refusal_to_listen(replace(keyed.gateway, settings=open_to_all)))
    with pytest.raises(ValueError, match="cors_origins"):
        GatewaySettings(cors_origins=("https://app.example.org/path",))


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_problem_has_a_page_for_people_and_for_programs(keyed: KeyedGateway, reason: str) -> None:
    path = "/problems/" + reason.lower().replace("_", "-")
    page = keyed.anonymous.get(path, headers={"Accept": "text/html"})
    assert page.content_type == "text/html; charset=utf-8"
    assert REASONS[reason].title in page.get_data(as_text=True).replace("&#39;", "'")
    told = keyed.anonymous.get(path, headers={"Accept": "application/json"}).get_json()
    assert (told["type"], told["reason"], told["status"]) == (path, reason, REASONS[reason].http_status)
    listed = keyed.anonymous.get("/problems", headers={"Accept": "application/json"}).get_json()["data"]
    assert told in listed


def test_a_problem_that_is_none_is_404(keyed: KeyedGateway) -> None:
    assert keyed.anonymous.get("/problems/no-such-thing").status_code == 404
    assert keyed.operator.get("/v1/jobs/none").get_json()["type"] == "/problems/not-found"
