"""`likeness keys`, over HTTP and on the data folder itself."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import make_server

import likeness
from likeness._cli.app import run
from tests.contract.gateway_accounts import KeyedGateway
from tests.databases import database_url


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyedGateway]:
    keyed = KeyedGateway(tmp_path)
    server = make_server("127.0.0.1", 0, keyed.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("LIKENESS_URL", f"http://127.0.0.1:{server.server_port}")
    yield keyed
    server.shutdown()
    thread.join()
    server.server_close()
    keyed.close()


def _json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_keys_over_http(
    served: KeyedGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "list"]) == 1, "no key was given"
    assert "not authenticated" in capsys.readouterr().err
    monkeypatch.setenv("LIKENESS_API_KEY", served.bootstrap_key)
    assert run(["keys", "create", "--name", "ci", "--scope", "read", "--scope", "speech"]) == 0
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert served.client(key).get("/v1/jobs").status_code == 200
    assert "not shown again" in shown.err
    (made, _) = _json(["keys", "list"], capsys)
    assert (made["name"], made["scopes"], made["key"]) == ("ci", ["read", "speech"], None)
    new = _json(["keys", "rotate", made["id"], "--overlap", "0"], capsys)
    assert served.client(key).get("/v1/jobs").status_code == 401
    assert served.client(new["key"]).get("/v1/jobs").status_code == 200
    assert run(["keys", "revoke", new["id"]]) == 0
    assert served.client(new["key"]).get("/v1/jobs").status_code == 401
    assert run(["keys", "create", "--scope", "everything"]) == 2
    assert "scopes" in capsys.readouterr().err


def test_the_client_looks_after_keys_and_tenants(served: KeyedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_API_KEY", served.bootstrap_key)
    with likeness.Client(os.environ["LIKENESS_URL"]) as client:
        tenant = client.tenants.create("acme", limits={"concurrent_jobs": 3})
        assert (tenant.id, tenant.limits["concurrent_jobs"]) == ("acme", 3)
        key = client.keys.create("first", tenant="acme", scopes=["read", "admin"])
        assert client.keys.get(key.id).last_used_at is None
        assert key.key is not None
        assert key.key not in repr(key)
        assert [item.id for item in client.tenants.list()] == ["acme", "local"]
        assert client.tenants.update("acme", disabled=True).disabled_at is not None
        assert client.tenants.update("acme", disabled=False, limits={"concurrent_jobs": None}).disabled_at is None
        assert client.tenants.get("acme").limits["concurrent_jobs"] == served.settings.concurrent_jobs
        assert client.audit.list(object_id="acme")[-1].action == "create_tenant"
        with likeness.Client(client.base_url, api_key=key.key) as theirs:
            assert [item.id for item in theirs.keys.list()] == [key.id]
            client.keys.revoke(key.id)
            with pytest.raises(likeness.LikenessAPIError, match="revoked"):
                theirs.keys.list()


def test_keys_of_a_data_folder_need_no_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIKENESS_DATABASE_URL", database_url(tmp_path))
    monkeypatch.setenv("LIKENESS_AUTH", "keys")
    local = ["--local", "--data-dir", str(tmp_path)]
    made = _json(["keys", "create", "--name", "first", "--scope", "admin", *local], capsys)
    assert [key["id"] for key in _json(["keys", "list", *local], capsys)] == [made["id"]]
    keyed = KeyedGateway(tmp_path)
    assert keyed.client(made["key"]).get("/v1/keys").status_code == 200
    keyed.close()
