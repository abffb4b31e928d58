"""Tenant B cannot learn that anything of tenant A's exists: every operation of the OpenAPI document is tried.

An operation that is new is picked up by its path; where it takes ids in a way that this file does not know yet, the
test fails and says what to add.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import simple_websocket  # type: ignore[import-untyped]
from sqlalchemy import select
from werkzeug.serving import make_server

from services.gateway.db import Media
from services.gateway.provenance.release import store_sidecar
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_objects import (
    BODIES,
    NAMES_NOTHING,
    NAMING,
    NEVER_EMPTY,
    OWN,
    REFUSED,
    SAME_FOR_ALL,
    SIGNED,
    World,
    filled,
    make_everything,
    other,
    told,
)
from tests.contract.gateway_people import CONSENT, enrol_bob


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        stages = FakeStages(Path(folder))
        keyed = KeyedGateway(Path(folder), **stages.targets())
        a, b = keyed.tenant("tenant-a"), keyed.tenant("tenant-b")
        ids = make_everything(a)
        for job in (ids["swap"], ids["job"]):
            store_sidecar(keyed.gateway, "tenant-a", job, b"stands for a manifest", "audio/ogg")
        yield World(keyed, a, b, ids)
        keyed.close()
        stages.close()


def test_every_operation_is_covered(world: World) -> None:
    with_objects = {name for name, (_, path, _) in world.operations.items() if "{" in path}
    reading = {name for name, (method, path, _) in world.operations.items() if "{" not in path and method == "GET"}
    making = set(world.operations) - with_objects - reading
    unknown = making - set(NAMING) - NAMES_NOTHING - REFUSED - OWN
    assert not unknown, "say in NAMING which ids their bodies may name, or put them into NAMES_NOTHING"
    for operation in with_objects - SAME_FOR_ALL - SIGNED:
        filled(world, operation, world.ids)


def test_objects_of_another_tenant_are_404_as_if_they_were_not_there(world: World) -> None:
    tried = 0
    for operation, (method, path, _) in world.operations.items():
        if "{" not in path or operation in SAME_FOR_ALL | SIGNED:
            continue
        body = BODIES.get(operation, {})
        absent = other(world.ids)
        theirs = world.b.open(filled(world, operation, world.ids), method=method, **body)
        nobodys = world.b.open(filled(world, operation, absent), method=method, **body)
        assert theirs.status_code == 404, f"{operation}: {theirs.get_data(as_text=True)[:300]}"
        assert told(theirs, world.ids) == told(nobodys, absent), operation
        tried += 1
    assert tried >= 25


@pytest.mark.parametrize("operation", sorted(SIGNED))
def test_signed_addresses_do_not_tell_what_exists(world: World, operation: str) -> None:
    method = world.operations[operation][0]
    query = "?expires=4000000000&signature=" + "0" * 64
    answers = [
        world.b.open(filled(world, operation, ids) + query, method=method, data=b"x")
        for ids in (world.ids, other(world.ids))
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert told(answers[0], {}) == told(answers[1], {})


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
        if operation in REFUSED:
            assert answer.status_code == 403, operation
            continue
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
    absent = other(world.ids)
    for send in NAMING[operation]:
        theirs, nobodys = send(world.b, world.ids), send(world.b, absent)
        assert theirs.status_code in (400, 403, 404), theirs.get_data(as_text=True)[:300]
        assert told(theirs, world.ids) == told(nobodys, absent)
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
    answers = []
    try:
        for ids in (world.ids, other(world.ids)):
            bearer = {"Authorization": world.b.environ_base["HTTP_AUTHORIZATION"]}
            socket = simple_websocket.Client(f"ws://127.0.0.1:{server.server_port}/v1/swaps/live", headers=bearer)
            socket.send(json.dumps({"type": "setup", "face": ids["face"]}))
            problem = json.loads(socket.receive(timeout=60))["problem"]
            answers.append((problem["status"], problem["reason"], problem["detail"].replace(ids["face"], "<face>")))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert answers[0] == answers[1]
    assert answers[0][:2] == (404, "NOT_FOUND")


def test_tenants_are_the_operators(world: World) -> None:
    for name in ("tenant-a", "tenant-z"):
        assert world.b.post("/v1/tenants", json={"id": name}).status_code == 403, "also where the name is taken"


def test_every_tenant_may_use_the_same_names(world: World) -> None:
    own = world.keyed.tenant("tenant-c")
    ids = make_everything(own)
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
            answer = world.a.get(filled(world, operation, world.ids))
            assert answer.status_code in (200, 204), operation
            answer.close()
    assert world.a.get(f"/v1/audio/voice_consents/{world.ids['voice consent']}").get_json()["state"] == "live"
    assert world.a.get(f"/v1/batches/{world.ids['batch']}").get_json()["status"] == "in_progress"
    assert world.a.get("/v1/tenants/tenant-a").get_json()["disabled_at"] is None
