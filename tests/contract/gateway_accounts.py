"""A gateway that asks for keys, and clients that have some."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from services.gateway.accounts.bootstrap import make_bootstrap_key
from services.gateway.accounts.secrets import make_key
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from tests.databases import database_url


class ClosingClient(FlaskClient):
    """Takes every answer to its end, as clients do; `buffered=False` leaves it open."""

    def open(self, *args: Any, buffered: bool = True, **options: Any) -> Any:
        return super().open(*args, buffered=buffered, **options)


class KeyedGateway:
    """An application with auth=keys. `operator` is a client with all scopes of the tenant `local`."""

    def __init__(self, data_dir: Path, **settings: Any) -> None:
        self.bootstrap_key = make_key().text
        values = {"database_url": database_url(data_dir), "log_level": "error", "auth": "keys", **settings}
        self.settings = GatewaySettings(data_dir=data_dir, bootstrap_key=self.bootstrap_key, **values)
        self.app = create_app(self.settings)
        self.app.test_client_class = ClosingClient
        make_bootstrap_key(self.gateway)
        self.operator = self.client(self.bootstrap_key)
        self.anonymous = self.app.test_client()

    @property
    def gateway(self) -> Any:
        return self.app.extensions["likeness"]

    def client(self, key: str) -> FlaskClient:
        """Sends that key with every request."""
        client = self.app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    def new_key(self, **body: Any) -> dict[str, Any]:
        answer = self.operator.post("/v1/keys", json={"name": "test", **body})
        assert answer.status_code == 201, answer.get_json()
        made: dict[str, Any] = answer.get_json()
        return made

    def tenant(self, name: str, **limits: Any) -> FlaskClient:
        """A new tenant, and a client of it with all scopes."""
        answer = self.operator.post("/v1/tenants", json={"id": name, "limits": limits})
        assert answer.status_code == 201, answer.get_json()
        scopes = ["read", "voices", "faces", "speech", "swaps", "jobs", "media", "admin"]
        return self.client(self.new_key(tenant=name, scopes=scopes)["key"])

    def close(self) -> None:
        self.gateway.close()
