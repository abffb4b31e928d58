"""Tenant B cannot learn that anything of tenant A's exists: every operation of the OpenAPI document is tried.

An operation that is new is picked up by its path; where it takes ids in a way that this file does not know yet, the
test fails and says what to add.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import simple_websocket  # type: ignore[import-untyped]
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.serving import make_server

from services.common.encode_audio import encode_audio
from services.gateway.db import Media
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.contract.gateway_people import CONSENT, enrol_ada, enrol_bob, new_consent

Ids = dict[str, str]
SPEECH = {"input": "Hello.", "response_format": "wav"}


@dataclass(frozen=True)
class World:
    keyed: KeyedGateway
    a: FlaskClient
    b: FlaskClient
    ids: Ids  # of A's objects, by what they are

    @property
    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Method, path and definition by operation id."""
        spec = self.keyed.anonymous.get("/openapi.json").get_json()
        return {
            definition["operationId"]: (method.upper(), path, definition)
            for path, item in spec["paths"].items()
            for method, definition in item.items()
        }


def _made(answer: Any) -> dict[str, Any]:
    assert answer.status_code in (200, 201, 202), answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


def _make_everything(client: FlaskClient) -> Ids:
    voice, face = enrol_ada(client), enrol_bob(client)
    swap = _made(client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(portrait(80)), "t.png")}))
    spoken = client.post("/v1/audio/speech", json={**SPEECH, "voice": "Ada", "keep": True, "stream": False})
    upload = _made(
        client.post("/v1/uploads", json={"file_name": "film.mp4", "size_bytes": 100, "purpose": "swap_target"})
    )
    line = {"custom_id": "1", "method": "POST", "url": "/v1/audio/speech", "body": {"voice": "Ada", "input": "Hi."}}
    file = _made(
        client.post("/v1/files", data={"purpose": "batch", "file": (io.BytesIO(json.dumps(line).encode()), "b.jsonl")})
    )
    batch = _made(client.post("/v1/batches", json={"input_file_id": file["id"], "endpoint": "/v1/audio/speech"}))
    key = _made(client.post("/v1/keys", json={"name": "another"}))
    return {
        "voice": voice["id"],
        "voice consent": voice["consent"],
        "face": face["id"],
        "face consent": face["consent"],
        "swap": swap["id"],
        "job": spoken.headers["X-Likeness-Job"],
        "media": swap["media"],
        "upload": upload["id"],
        "file": file["id"],
        "batch": batch["id"],
        "key": key["id"],
        "tenant": "tenant-a",
        "name of a voice": "Ada",
        "name of a face": "Bob",
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        stages = FakeStages(Path(folder))
        keyed = KeyedGateway(Path(folder), **stages.targets())
        a, b = keyed.tenant("tenant-a"), keyed.tenant("tenant-b")
        yield World(keyed, a, b, _make_everything(a))
        keyed.close()
        stages.close()


# What a path parameter names. Of consents the path says which kind.
PARAMETERS = {
    "voice": "voice",
    "face": "face",
    "swap_id": "swap",
    "job_id": "job",
    "media_id": "media",
    "upload_id": "upload",
    "file_id": "file",
    "batch_id": "batch",
    "key_id": "key",
    "tenant_id": "tenant",
}
# Bodies that operations with a path parameter need to get as far as their object.
BODIES: dict[str, dict[str, Any]] = {
    "rotate_key": {"json": {}},
    "update_tenant": {"json": {"disabled": True}},
}
SAME_FOR_ALL = {"get_model", "list_models", "list_audio_models", "get_health", "get_readiness", "get_metrics"}
# Whoever has such an address was given it; without the right signature it opens nothing, whether the object is or not.
SIGNED = {"get_media_content", "put_upload_part"}
# Each tenant has some of its own from the beginning.
NEVER_EMPTY = {"list_keys", "list_tenants", "list_audit"}
OWN = {"get_webhook_secret", "rotate_webhook_secret"}

# Requests that name objects in their bodies: the answer must be that for objects which do not exist.
Naming = Callable[[FlaskClient, Ids], Any]


def _voice(client: FlaskClient, ids: Ids) -> Any:
    recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "x.wav")
    return client.post(
        "/v1/audio/voices", data={"name": "x", "consent": ids["voice consent"], "audio_sample": recording}
    )


def _voice_of_file(client: FlaskClient, ids: Ids) -> Any:
    data = {"name": "x", "consent": new_consent(client), "sample_media": ids["media"]}
    return client.post("/v1/audio/voices", data=data)


def _face(client: FlaskClient, ids: Ids) -> Any:
    return client.post("/v1/faces", data={"consent": ids["face consent"], "picture": (io.BytesIO(portrait()), "x.png")})


def _face_of_file(client: FlaskClient, ids: Ids) -> Any:
    return client.post("/v1/faces", data={"consent": new_consent(client, "face"), "picture_media": ids["media"]})


def _swap(**names: str) -> Naming:
    def send(client: FlaskClient, ids: Ids) -> Any:
        fields: dict[str, Any] = {field: ids.get(name, name) for field, name in names.items()}
        if "target_media" not in fields:
            fields["target"] = (io.BytesIO(portrait(80)), "t.png")
        return client.post("/v1/swaps", data=fields)

    return send


def _json(path: str, **body: Any) -> Naming:
    return lambda client, ids: client.post(
        path, json={field: ids.get(value, value) if isinstance(value, str) else value for field, value in body.items()}
    )


NAMING: dict[str, list[Naming]] = {
    "create_voice": [_voice, _voice_of_file],
    "create_face": [_face, _face_of_file],
    "create_speech": [_json("/v1/audio/speech", voice=name, input="Hello.") for name in ("voice", "name of a voice")],
    "create_swap": [
        _swap(face="face"),
        _swap(face="name of a face"),
        _swap(face="Carla", target_media="media"),
        _swap(face="Carla", selection="reference", reference_face="face"),
    ],
    "create_batch": [_json("/v1/batches", input_file_id="file", endpoint="/v1/audio/speech")],
    "create_key": [_json("/v1/keys", name="x", tenant="tenant")],
}
NAMES_NOTHING = {"create_voice_consent", "create_face_consent", "create_upload", "create_file"}
REFUSED = {"create_tenant"}  # only the operator's administrators make tenants


def _filled(world: World, operation: str, ids: Ids) -> str:
    method, path, _ = world.operations[operation]

    def fill(found: re.Match[str]) -> str:
        name = found[1]
        if name == "number":
            return "1"
        if name == "consent_id":
            return ids["face consent" if "face" in path else "voice consent"]
        assert name in PARAMETERS, f"{method} {path}: say in PARAMETERS what {name!r} is the id of"
        return ids[PARAMETERS[name]]

    return re.sub(r"\{([^{}]+)\}", fill, path)


def _other(ids: Ids) -> Ids:
    """Ids like these, of nothing."""
    return {
        what: re.sub(r"[0-9a-f]{8}$", "0badcafe", value) + ("" if "_" in value else "-0") for what, value in ids.items()
    }


def _told(answer: Any, ids: Ids) -> tuple[int, str, str]:
    """Status, reason and detail, without the ids that the request named."""
    body = answer.get_json()
    detail = str(body.get("detail"))
    for what, value in ids.items():
        detail = detail.replace(value, f"<{what}>")
    return answer.status_code, body.get("reason"), detail


def test_every_operation_is_covered(world: World) -> None:
    with_objects = {name for name, (_, path, _) in world.operations.items() if "{" in path}
    reading = {name for name, (method, path, _) in world.operations.items() if "{" not in path and method == "GET"}
    making = set(world.operations) - with_objects - reading
    unknown = making - set(NAMING) - NAMES_NOTHING - REFUSED - OWN
    assert not unknown, "say in NAMING which ids their bodies may name, or put them into NAMES_NOTHING"
    for operation in with_objects - SAME_FOR_ALL - SIGNED:
        _filled(world, operation, world.ids)


def test_objects_of_another_tenant_are_404_as_if_they_were_not_there(world: World) -> None:
    tried = 0
    for operation, (method, path, _) in world.operations.items():
        if "{" not in path or operation in SAME_FOR_ALL | SIGNED:
            continue
        body = BODIES.get(operation, {})
        absent = _other(world.ids)
        theirs = world.b.open(_filled(world, operation, world.ids), method=method, **body)
        nobodys = world.b.open(_filled(world, operation, absent), method=method, **body)
        assert theirs.status_code == 404, f"{operation}: {theirs.get_data(as_text=True)[:300]}"
        assert _told(theirs, world.ids) == _told(nobodys, absent), operation
        tried += 1
    assert tried >= 25


@pytest.mark.parametrize("operation", sorted(SIGNED))
def test_signed_addresses_do_not_tell_what_exists(world: World, operation: str) -> None:
    method = world.operations[operation][0]
    query = "?expires=4000000000&signature=" + "0" * 64
    answers = [
        world.b.open(_filled(world, operation, ids) + query, method=method, data=b"x")
        for ids in (world.ids, _other(world.ids))
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert _told(answers[0], {}) == _told(answers[1], {})


def test_names_are_looked_for_in_ones_own_tenant(world: World) -> None:
    for path in ("/v1/audio/voices/Ada", "/v1/faces/Bob"):
        assert world.a.get(path).status_code == 200
        assert world.b.get(path).status_code == 404
        assert world.b.delete(path).status_code == 404


def test_lists_show_nothing_of_another_tenant(world: World) -> None:
    tried = 0
    for operation, (method, path, definition) in world.operations.items():
        if method != "GET" or "{" in path or operation in SAME_FOR_ALL:
            continue
        answer = world.b.get(path)
        assert answer.status_code == 200, operation
        text = answer.get_data(as_text=True)
        if operation != "list_audit":  # which tells what B itself asked for
            assert not [value for what, value in world.ids.items() if f'"{value}"' in text], operation
        if operation.startswith("list_") and operation not in NEVER_EMPTY:
            assert answer.get_json()["data"] == [], operation
        for query in definition.get("parameters", []):
            about = {"job": "job", "batch": "batch", "tenant": "tenant", "object_id": "voice", "after": "job"}
            if query["in"] == "query" and query["name"] in about:
                asked = world.b.get(f"{path}?{query['name']}={world.ids[about[query['name']]]}")
                assert asked.status_code in (400, 404) or asked.get_json()["data"] == [] or operation in NEVER_EMPTY
                assert world.a.get(path).status_code == 200
        tried += 1
    assert tried >= 12


@pytest.mark.parametrize("operation", sorted(NAMING))
def test_bodies_that_name_anothers_objects_are_answered_as_if_these_were_not_there(
    world: World, operation: str
) -> None:
    if world.b.get("/v1/faces/Carla").status_code == 404:
        enrol_bob(world.b, "Carla")
    absent = _other(world.ids)
    for send in NAMING[operation]:
        theirs, nobodys = send(world.b, world.ids), send(world.b, absent)
        assert theirs.status_code in (400, 403, 404), theirs.get_data(as_text=True)[:300]
        assert _told(theirs, world.ids) == _told(nobodys, absent)
        assert theirs.get_json()["reason"] in ("NOT_FOUND", "CONSENT_REQUIRED")


def test_the_audit_is_of_ones_own_doings(world: World) -> None:
    world.b.delete(f"/v1/faces/{world.ids['face']}")
    key = world.b.get("/v1/keys").get_json()["data"][0]["id"]
    assert {entry["actor"] for entry in world.b.get("/v1/audit?limit=100").get_json()["data"]} == {key}
    assert key not in world.a.get("/v1/audit?limit=100").get_data(as_text=True)


def test_live_swaps_take_ones_own_faces_alone(world: World) -> None:
    """A WebSocket is no operation of the document."""
    server = make_server("127.0.0.1", 0, world.keyed.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    told = []
    try:
        for ids in (world.ids, _other(world.ids)):
            bearer = {"Authorization": world.b.environ_base["HTTP_AUTHORIZATION"]}
            socket = simple_websocket.Client(f"ws://127.0.0.1:{server.server_port}/v1/swaps/live", headers=bearer)
            socket.send(json.dumps({"type": "setup", "face": ids["face"]}))
            problem = json.loads(socket.receive(timeout=10))["problem"]
            told.append((problem["status"], problem["reason"], problem["detail"].replace(ids["face"], "<face>")))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert told[0] == told[1]
    assert told[0][:2] == (404, "NOT_FOUND")


def test_tenants_are_the_operators(world: World) -> None:
    for name in ("tenant-a", "tenant-z"):
        assert world.b.post("/v1/tenants", json={"id": name}).status_code == 403, "also where the name is taken"


def test_every_tenant_may_use_the_same_names(world: World) -> None:
    own = world.keyed.tenant("tenant-c")
    ids = _make_everything(own)
    assert not {value for what, value in ids.items() if "_" in value} & set(world.ids.values())
    assert own.get("/v1/audio/voices/Ada").get_json()["id"] == ids["voice"]
    assert world.a.get("/v1/audio/voices/Ada").get_json()["id"] == world.ids["voice"]


def test_idempotency_keys_and_consents_of_another_tenant_are_strangers(world: World) -> None:
    key = {"Idempotency-Key": "the-same"}
    ours = world.a.post("/v1/face_consents", json=CONSENT, headers=key).get_json()["id"]
    theirs = world.b.post("/v1/face_consents", json=CONSENT, headers=key)
    assert theirs.status_code == 201
    assert theirs.get_json()["id"] != ours


def test_objects_lie_under_a_prefix_of_their_tenant(world: World) -> None:
    with world.keyed.gateway.database.session() as session:
        found = list(session.scalars(select(Media)))
    assert {media.tenant for media in found} >= {"tenant-a", "tenant-b"}
    assert not [media.key for media in found if media.key.split("/")[1] != media.tenant]


def test_nothing_of_what_another_tenant_tried_had_an_effect(world: World) -> None:
    """Runs last in this file: A's objects are all there still."""
    for operation, (method, path, _) in world.operations.items():
        if method == "GET" and "{" in path and operation not in SAME_FOR_ALL | SIGNED | {"get_tenant"}:
            answer = world.a.get(_filled(world, operation, world.ids))
            assert answer.status_code in (200, 204), operation
            answer.close()
    assert world.a.get(f"/v1/audio/voice_consents/{world.ids['voice consent']}").get_json()["state"] == "live"
    assert world.a.get(f"/v1/batches/{world.ids['batch']}").get_json()["status"] == "in_progress"
    assert world.a.get("/v1/tenants/tenant-a").get_json()["disabled_at"] is None
