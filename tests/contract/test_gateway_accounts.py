"""Keys, scopes, tenants, audit: as their users see them."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import simple_websocket  # type: ignore[import-untyped]
from sqlalchemy import event, update

from services.gateway.accounts.bootstrap import make_bootstrap_key
from services.gateway.accounts.marks import is_marked, scopes_needed
from services.gateway.accounts.secrets import make_key
from services.gateway.app import create_app
from services.gateway.db import ApiKey
from services.gateway.db.models import utc_now
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_process import REPOSITORY, GatewayProcess
from tests.databases import database_url
from tests.waiting import wait_for

CONSENT = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
PUBLIC = {"/", "/live", "/docs", "/problems", "/problems/<name>", "/healthz", "/readyz", "/metrics", "/openapi.json"}
PUBLIC |= {"/web/<path:filename>", "/verify", "/.well-known/jwks.json"}
SIGNED = {"/v1/media/<media_id>/content", "/v1/uploads/<upload_id>/parts/<int:number>"}  # the address is the permission


@pytest.fixture(scope="module")
def keyed() -> Iterator[KeyedGateway]:
    with tempfile.TemporaryDirectory() as folder:
        made = KeyedGateway(Path(folder))
        yield made
        made.close()


def test_without_a_key_nothing_but_pages_and_probes_answers(keyed: KeyedGateway) -> None:
    for path in ("/healthz", "/docs", "/openapi.json", "/web/app.js"):
        assert keyed.anonymous.get(path).status_code == 200, path
    refused = keyed.anonymous.get("/v1/audio/voices")
    assert (refused.status_code, refused.get_json()["reason"]) == (401, "UNAUTHENTICATED")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="likeness"'
    assert keyed.anonymous.post("/v1/face_consents", json=CONSENT).status_code == 401
    assert keyed.anonymous.get("/v1/media/media_1").status_code == 401


@pytest.mark.parametrize(
    "mangle", [lambda key: key[:-1] + "!", lambda key: key + "x", lambda _: make_key().text, str.upper]
)
def test_a_wrong_key_is_401_and_says_so(keyed: KeyedGateway, mangle: Any) -> None:
    refused = keyed.client(mangle(keyed.bootstrap_key)).get("/v1/jobs")
    assert (refused.status_code, refused.get_json()["reason"]) == (401, "UNAUTHENTICATED")
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_a_secret_that_is_right_in_all_but_one_character_is_wrong(keyed: KeyedGateway) -> None:
    key = keyed.bootstrap_key
    other = key[:20] + ("A" if key[20] != "A" else "B") + key[21:]
    assert keyed.client(other).get("/v1/jobs").status_code == 401
    assert keyed.client(key).get("/v1/jobs").status_code == 200


def test_a_key_is_shown_once_and_kept_as_a_hash(keyed: KeyedGateway) -> None:
    made = keyed.new_key(scopes=["read"])
    assert made["key"].startswith(made["prefix"] + "_")
    assert "key" not in keyed.operator.get(f"/v1/keys/{made['id']}").get_json()
    with keyed.gateway.database.session() as session:
        record = session.get(ApiKey, made["id"])
        kept = {column.name: str(getattr(record, column.name)) for column in ApiKey.__table__.columns}
    secret = made["key"].removeprefix(made["prefix"] + "_")
    assert not [name for name, value in kept.items() if secret in value]


def test_scopes_open_what_they_name_and_nothing_else(keyed: KeyedGateway) -> None:
    reader = keyed.client(keyed.new_key(scopes=["read"])["key"])
    assert reader.get("/v1/audio/voices").status_code == 200
    refused = reader.post("/v1/audio/voice_consents", json=CONSENT)
    assert (refused.status_code, refused.get_json()["reason"]) == (403, "INSUFFICIENT_SCOPE")
    assert "`voices`" in refused.get_json()["detail"]
    assert 'scope="voices"' in refused.headers["WWW-Authenticate"]
    assert reader.get("/v1/keys").status_code == 403
    enroller = keyed.client(keyed.new_key(scopes=["voices"])["key"])
    assert enroller.post("/v1/audio/voice_consents", json=CONSENT).status_code == 201
    assert enroller.post("/v1/face_consents", json=CONSENT).status_code == 403
    assert enroller.get("/v1/models").status_code == 200, "whoever has a key may know the models"


def test_every_view_says_whom_it_is_for(keyed: KeyedGateway) -> None:
    public = set()
    for rule in keyed.app.url_map.iter_rules():
        view = keyed.app.view_functions[rule.endpoint]
        assert is_marked(view), f"{rule.rule} lacks @needs or @public; until then it needs `admin`"
        if scopes_needed(view) is None:
            public.add(rule.rule)
    assert public == PUBLIC | SIGNED


def test_a_key_expires_and_can_be_revoked(keyed: KeyedGateway) -> None:
    made = keyed.new_key(scopes=["read"], expires_at=(utc_now() + timedelta(hours=1)).isoformat())
    client = keyed.client(made["key"])
    assert client.get("/v1/jobs").status_code == 200
    with keyed.gateway.database.session() as session:
        session.execute(update(ApiKey).where(ApiKey.id == made["id"]).values(expires_at=utc_now()))
    wait_for(lambda: client.get("/v1/jobs").status_code == 401)  # it may be remembered for a second
    assert "expired" in client.get("/v1/jobs").get_json()["detail"]
    late = keyed.operator.post("/v1/keys", json={"name": "late", "expires_at": "2020-01-01T00:00:00Z"})
    assert (late.status_code, late.get_json()["field"]) == (400, "expires_at")
    other = keyed.new_key(scopes=["read"])
    assert keyed.operator.delete(f"/v1/keys/{other['id']}").get_json()["deleted"] is True
    assert "revoked" in keyed.client(other["key"]).get("/v1/jobs").get_json()["detail"]
    assert keyed.operator.get(f"/v1/keys/{other['id']}").status_code == 404
    assert other["id"] not in [key["id"] for key in keyed.operator.get("/v1/keys").get_json()["data"]]


def test_rotation_leaves_the_old_key_valid_for_the_overlap(keyed: KeyedGateway) -> None:
    old = keyed.new_key(scopes=["read", "speech"])
    new = keyed.operator.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_seconds": 600}).get_json()
    assert (new["name"], new["scopes"], new["expires_at"]) == (old["name"], old["scopes"], None)
    assert keyed.client(old["key"]).get("/v1/jobs").status_code == 200
    assert keyed.client(new["key"]).get("/v1/jobs").status_code == 200
    ends_at = keyed.operator.get(f"/v1/keys/{old['id']}").get_json()["expires_at"]
    assert ends_at is not None
    newer = keyed.operator.post(f"/v1/keys/{new['id']}/rotate", json={"overlap_seconds": 0}).get_json()
    assert keyed.client(new["key"]).get("/v1/jobs").status_code == 401
    assert keyed.client(newer["key"]).get("/v1/jobs").status_code == 200


def test_last_use_is_written_at_most_once_a_minute(keyed: KeyedGateway) -> None:
    made = keyed.new_key(scopes=["read"])
    client = keyed.client(made["key"])
    writes: list[str] = []
    event.listen(
        keyed.gateway.database.engine,
        "before_cursor_execute",
        lambda *call: writes.append(call[2]) if call[2].startswith("UPDATE api_keys") else None,
    )
    for _ in range(5):
        assert client.get("/v1/jobs").status_code == 200
    assert len(writes) == 1
    assert keyed.operator.get(f"/v1/keys/{made['id']}").get_json()["last_used_at"] is not None


def test_on_loopback_no_key_is_needed_and_a_wrong_one_is_refused_still(tmp_path: Path) -> None:
    app = create_app(GatewaySettings(data_dir=tmp_path, database_url=database_url(tmp_path), log_level="error"))
    client = app.test_client()
    assert client.get("/v1/keys").status_code == 200
    wrong = client.get("/v1/jobs", headers={"Authorization": f"Bearer {make_key().text}"})
    assert wrong.status_code == 401
    for placeholder in ("Bearer unused", "Bearer sk-none", "Basic YTpi"):
        assert client.get("/v1/jobs", headers={"Authorization": placeholder}).status_code == 200
    app.extensions["likeness"].close()


def test_tenants_are_made_limited_and_disabled_by_the_operator(keyed: KeyedGateway) -> None:
    acme = keyed.tenant("acme", requests_per_minute=120)
    assert acme.get("/v1/tenants/acme").get_json()["limits"]["requests_per_minute"] == 120
    assert [tenant["id"] for tenant in acme.get("/v1/tenants").get_json()["data"]] == ["acme"]
    assert acme.get("/v1/tenants/local").status_code == 404
    assert acme.patch("/v1/tenants/acme", json={"limits": {"requests_per_minute": 0}}).status_code == 403
    assert acme.post("/v1/tenants", json={"id": "more"}).status_code == 403
    assert acme.post("/v1/keys", json={"name": "x", "tenant": "local"}).status_code == 404
    again = keyed.operator.post("/v1/tenants", json={"id": "acme"})
    assert (again.status_code, again.get_json()["reason"]) == (409, "ALREADY_EXISTS")
    changed = keyed.operator.patch("/v1/tenants/acme", json={"limits": {"media_ttl_days": 7}}).get_json()
    assert (changed["limits"]["requests_per_minute"], changed["limits"]["media_ttl_days"]) == (120, 7)
    back = keyed.operator.patch("/v1/tenants/acme", json={"limits": {"requests_per_minute": None}}).get_json()
    assert back["limits"]["requests_per_minute"] == keyed.settings.requests_per_minute
    keyed.operator.patch("/v1/tenants/acme", json={"disabled": True})
    refused = acme.get("/v1/jobs")
    assert (refused.status_code, refused.get_json()["reason"]) == (403, "TENANT_DISABLED")
    keyed.operator.patch("/v1/tenants/acme", json={"disabled": False})
    assert acme.get("/v1/jobs").status_code == 200
    assert keyed.operator.patch("/v1/tenants/local", json={"disabled": True}).status_code == 400


def test_tenants_are_listed_in_pages(keyed: KeyedGateway) -> None:
    for name in ("a", "b", "c"):
        keyed.operator.post("/v1/tenants", json={"id": name})
    first = keyed.operator.get("/v1/tenants?limit=2").get_json()
    assert ([item["id"] for item in first["data"]], first["has_more"]) == (["c", "b"], True)
    rest = keyed.operator.get(f"/v1/tenants?limit=100&after={first['last_id']}").get_json()
    names = [item["id"] for item in rest["data"]]
    assert (names[0], names[-1], rest["has_more"]) == ("a", "local", False)


def test_what_changes_something_is_in_the_audit_with_who_did_it(keyed: KeyedGateway) -> None:
    made = keyed.new_key(scopes=["voices", "admin"])
    client = keyed.client(made["key"])
    consent = client.post("/v1/audio/voice_consents", json=CONSENT, headers={"X-Request-Id": "the-first"}).get_json()
    client.post(f"/v1/audio/voice_consents/{consent['id']}/revoke")
    client.get("/v1/audio/voices")
    client.post("/v1/face_consents", json=CONSENT)
    entries = client.get(f"/v1/audit?actor={made['id']}").get_json()["data"]
    told = [(entry["action"], entry["object_id"], entry["status"]) for entry in reversed(entries)]
    assert told == [
        ("create_voice_consent", consent["id"], 201),
        ("revoke_voice_consent", consent["id"], 200),
        ("create_face_consent", None, 403),
    ]
    assert entries[-1]["request_id"] == "the-first"
    assert "create_key" in [entry["action"] for entry in keyed.operator.get("/v1/audit").get_json()["data"]]


def _start_beyond_loopback(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
    environment |= {"LIKENESS_HOST": "0.0.0.0", "LIKENESS_HTTP_PORT": "0", "LIKENESS_DATA_DIR": str(tmp_path)}
    environment |= {"LIKENESS_DATABASE_URL": database_url(tmp_path)} | settings
    command = [sys.executable, "-m", "services.gateway"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, timeout=300)


def test_listening_beyond_loopback_needs_a_key(tmp_path: Path) -> None:
    refused = _start_beyond_loopback(tmp_path)
    assert refused.returncode == 2
    for advice in (b"likeness keys create --local", b"LIKENESS_BOOTSTRAP_KEY", b"LIKENESS_ALLOW_UNAUTHENTICATED"):
        assert advice in refused.stderr


def test_a_bootstrap_key_must_look_like_one_and_is_made_once(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path)
    make_bootstrap_key(keyed.gateway)
    assert len(keyed.operator.get("/v1/keys").get_json()["data"]) == 1
    weak = dataclasses.replace(keyed.gateway, settings=keyed.settings.model_copy(update={"bootstrap_key": "hunter2"}))
    with pytest.raises(ValueError, match="LIKENESS_BOOTSTRAP_KEY is not an API key"):
        make_bootstrap_key(weak)
    keyed.close()


def test_beyond_loopback_requests_and_sockets_are_asked_for_a_key(tmp_path: Path) -> None:
    """A browser cannot set the headers of a WebSocket, and a key does not belong into an address."""
    key = make_key().text
    process = GatewayProcess(tmp_path, host="0.0.0.0", bootstrap_key=key, database_url=database_url(tmp_path))
    url = process.url.replace("http", "ws") + "/v1/swaps/live"
    try:
        assert process.client.get("/v1/jobs").status_code == 401
        assert process.client.get("/v1/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        with pytest.raises(simple_websocket.ConnectionError):
            simple_websocket.Client(url)
        with pytest.raises(simple_websocket.ConnectionError):
            simple_websocket.Client(url, subprotocols=["likeness.live", f"likeness.key.{make_key().text}"])
        socket = simple_websocket.Client(url, subprotocols=["likeness.live", f"likeness.key.{key}"])
        assert socket.subprotocol == "likeness.live", "the key is not sent back"
        socket.send("no setup")
        assert "INVALID_FIELD" in socket.receive(timeout=60)
    finally:
        process.close()
