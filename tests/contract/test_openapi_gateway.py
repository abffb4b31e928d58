"""The OpenAPI page tells the truth: schemathesis makes requests from it and compares the answers."""

from __future__ import annotations

import collections
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ensure_resource_availability,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    use_after_free,
)

from services.common.encode_audio import encode_audio
from services.gateway.app import create_app
from services.gateway.db import LOCAL_TENANT, Base, Database
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fakes import FakeStages, portrait, sine

QUICK = hypothesis.settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    """A gateway with a voice, a face, a swap and a speech, so that lists are not empty."""
    with tempfile.TemporaryDirectory() as folder:
        stages = FakeStages(Path(folder))
        made = create_app(GatewaySettings(data_dir=Path(folder), log_level="error", **stages.targets(Path(folder))))
        client = made.test_client()
        body = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
        voice = client.post("/v1/audio/voice_consents", json=body).get_json()["id"]
        face = client.post("/v1/face_consents", json=body).get_json()["id"]
        recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
        client.post("/v1/audio/voices", data={"name": "Ada", "consent": voice, "audio_sample": recording})
        picture = (io.BytesIO(portrait()), "bob.png")
        client.post("/v1/faces", data={"name": "Bob", "consent": face, "picture": picture})
        client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(portrait(80)), "t.png")})
        client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "Ada"}).close()
        yield made
        made.extensions["likeness"].close()
        stages.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_the_specification_says(app: Any, mode: GenerationMode, subtests: pytest.Subtests) -> None:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    statuses: collections.Counter[int] = collections.Counter()
    for path, item in schema.raw_schema["paths"].items():
        for method, definition in item.items():
            if mode is GenerationMode.POSITIVE or "requestBody" in definition or "?" in _query(definition):
                with subtests.test(f"{method} {path}"):
                    statuses += _try_operation(schema[path][method], definition["responses"], mode)
    if mode is GenerationMode.POSITIVE:
        assert {200, 201, 404} <= set(statuses), "requests that follow the specification get somewhere"
    else:
        assert statuses[400] > 20


def _query(definition: dict[str, Any]) -> str:
    names = [parameter["name"] for parameter in definition.get("parameters", []) if parameter["in"] == "query"]
    return f"?{'&'.join(names)}" if names else ""


def _try_operation(operation: Any, responses: dict[str, Any], mode: GenerationMode) -> collections.Counter[int]:
    """Sends generated requests and checks each answer; which status codes came back."""
    statuses: collections.Counter[int] = collections.Counter()

    @hypothesis.settings(QUICK, max_examples=5)
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Any) -> None:
        response = case.call_and_validate(checks=CHECKS)
        statuses[response.status_code] += 1
        assert str(response.status_code) in responses, f"{response.status_code} is not described: {response.text}"

    attempt()
    return statuses


def test_specification_is_openapi_31_and_complete(app: Any) -> None:
    spec = app.test_client().get("/openapi.json").get_json()
    assert spec["openapi"].startswith("3.1")
    described = {(path, method) for path, item in spec["paths"].items() for method in item}
    served = {
        (re.sub(r"<(?:[^<:>]+:)?([^<>]+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    pages = {
        ("/", "get"),
        ("/docs", "get"),
        ("/openapi.json", "get"),
        ("/problems", "get"),
        ("/problems/{name}", "get"),
    }
    pages |= {("/live", "get"), ("/verify", "get"), ("/web/{filename}", "get")}
    assert served - described == pages | {("/v1/swaps/live", "get")}, "a WebSocket is no operation of OpenAPI"
    assert described <= served


def test_schema_names_are_allowed_and_references_resolve(app: Any) -> None:
    spec = app.test_client().get("/openapi.json").get_json()
    names = set(spec["components"]["schemas"])
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)
    assert {"ConsentOut", "VoiceOut", "VoiceOutPage", "Problem", "SpeechIn"} <= names
    assert set(_references(spec)) <= {f"#/components/schemas/{name}" for name in names}


def test_every_operation_has_an_id_a_summary_and_a_default_problem(app: Any) -> None:
    spec = app.test_client().get("/openapi.json").get_json()
    operations = [operation for item in spec["paths"].values() for operation in item.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for operation in operations:
        assert operation["summary"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]


@pytest.mark.parametrize(
    ("collection", "expected"),
    [
        ("/v1/keys", {"create_key", "get_key", "rotate_key", "delete_key"}),
        ("/v1/tenants", {"create_tenant", "get_tenant", "update_tenant"}),
        ("/v1/audio/voice_consents", {"create_voice_consent", "get_voice_consent", "revoke_voice_consent"}),
        ("/v1/uploads", {"create_upload", "get_upload", "abort_upload"}),
    ],
)
def test_sequences_of_requests_are_as_the_specification_says(app: Any, collection: str, expected: set[str]) -> None:
    """Follows the links of the document: what was made is there, what was deleted is not, and all is as described."""
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app).include(path_regex=f"^{collection}(/|$)")
    followed: set[str] = set()

    class Sequences(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            _empty(app.extensions["likeness"].database)  # so that what a sequence finds is what it made

        def validate_response(self, response: Any, case: Any, **options: Any) -> None:
            if response.status_code < 300:
                followed.add(case.operation.definition.raw["operationId"])
            checks = [*CHECKS, ensure_resource_availability]
            if collection != "/v1/uploads":  # which stay, as aborted, until they expire
                checks.append(use_after_free)
            case.validate_response(response, checks=checks, recorder=self.recorder, transport_kwargs=options or None)

    for round_ in range(5):  # which links are followed is chance, and the same in every first round
        settings = hypothesis.settings(QUICK, max_examples=25, stateful_step_count=6, derandomize=round_ == 0)
        Sequences.run(settings=settings)
        if expected <= followed:
            break
    assert expected <= followed


def _empty(database: Database) -> None:
    with database.session() as session:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name == "tenants":
                session.execute(table.delete().where(table.c.id != LOCAL_TENANT))
            elif table.name != "processes":
                session.execute(table.delete())


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)
