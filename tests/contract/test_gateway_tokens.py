"""Tokens of an OpenID Connect issuer, which is a small one of this test's own."""

from __future__ import annotations

import base64
import hmac
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from services.gateway.accounts import tokens
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_accounts import KeyedGateway

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
AUDIENCE = "likeness-test"
KEYS: dict[str, Any] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "rsa"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "ec"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "okp"}),
}


class SmallIssuer:
    """Publishes keys over HTTP and signs tokens with them."""

    def __init__(self) -> None:
        self.published = list(KEYS.values())
        self.asked: list[str] = []
        self.is_down = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = json.dumps(issuer.page(self.path)).encode()
                self.send_response(503 if issuer.is_down else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def page(self, path: str) -> Any:
        if path.endswith("openid-configuration"):
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return KeySet(self.published).as_dict(private=False)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada@example.org",
            "exp": int(time.time()) + 300,
            "tenant": "acme",
            "scope": "openid read likeness:voices",
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, algorithm: str = "RS256", key: Any = None, **changes: Any) -> str:
        key = key or KEYS[algorithm]
        header = {"alg": algorithm, "kid": key.kid}
        return jwt.encode(header, self.claims(**changes), key, registry=JWSRegistry(algorithms=[algorithm]))

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def issuer() -> Iterator[SmallIssuer]:
    made = SmallIssuer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def keyed(issuer: SmallIssuer) -> Iterator[KeyedGateway]:
    with tempfile.TemporaryDirectory() as folder:
        made = _gateway_that_trusts(issuer, Path(folder))
        yield made
        made.close()


def _gateway_that_trusts(issuer: SmallIssuer, data_dir: Path, **settings: Any) -> KeyedGateway:
    many = {"failed_attempts_per_minute": 1000, "requests_per_minute": 0}
    made = KeyedGateway(data_dir, oidc_issuer=issuer.url, oidc_audience=AUDIENCE, **many, **settings)
    made.tenant("acme")
    return made


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_is_its_subject_in_its_tenant_with_its_scopes(
    keyed: KeyedGateway, issuer: SmallIssuer, algorithm: str
) -> None:
    client = keyed.client(issuer.token(algorithm))
    consent = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
    made = client.post("/v1/audio/voice_consents", json=consent).get_json()
    assert client.post("/v1/face_consents", json=consent).status_code == 403
    assert client.get("/v1/audio/voice_consents").get_json()["data"][0]["id"] == made["id"]
    assert keyed.operator.get("/v1/audio/voice_consents").get_json()["data"] == [], "it is of the tenant acme"
    admin = keyed.client(issuer.token(algorithm, scope=["admin"]))
    assert {entry["actor"] for entry in admin.get("/v1/audit").get_json()["data"]} == {"ada@example.org"}
    assert admin.get("/v1/tenants/local").status_code == 404, "an administrator of another tenant is no operator"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"aud": "another-service"}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"sub": None}, "sub"),
        ({"nbf": 4_000_000_000}, "not yet valid"),
        ({"tenant": "nobody"}, "names no tenant"),
        ({"tenant": None}, "names no tenant"),
        ({"tenant": ["acme"]}, "names no tenant"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    keyed: KeyedGateway, issuer: SmallIssuer, changes: dict[str, Any], told: str
) -> None:
    refused = keyed.client(issuer.token(**changes)).get("/v1/jobs")
    assert (refused.status_code, refused.get_json()["reason"]) == (401, "UNAUTHENTICATED")
    assert told in refused.get_json()["detail"]
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_signatures_that_anybody_could_make_are_refused(keyed: KeyedGateway, issuer: SmallIssuer) -> None:
    """No signature; an HMAC whose secret is the public key; another key under the kid of a published one."""
    stem = f"{_part({'alg': 'HS256', 'kid': 'rsa'})}.{_part(issuer.claims())}"
    public = KEYS["RS256"].as_pem(private=False)
    with_public = f"{stem}.{_encoded(hmac.digest(public, stem.encode(), 'sha256'))}"
    unsigned = jwt.encode(
        {"alg": "none", "kid": "rsa"}, issuer.claims(), OctKey.generate_key(), registry=JWSRegistry(algorithms=["none"])
    )
    own = issuer.token("RS256", RSAKey.generate_key(2048, {"kid": "rsa"}))
    header, payload, signature = issuer.token().split(".")
    changed = f"{header}.{issuer.token(tenant='local').split('.')[1]}.{signature}"
    for token in (with_public, unsigned, own, changed, f"{header}.{payload}.", f"{header}.{payload}.AAAA"):
        assert keyed.client(token).get("/v1/jobs").status_code == 401
    assert keyed.client(issuer.token()).get("/v1/jobs").status_code == 200


def _part(value: dict[str, Any]) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_an_algorithm_that_is_not_listed_is_refused(issuer: SmallIssuer, tmp_path: Path) -> None:
    keyed = _gateway_that_trusts(issuer, tmp_path, oidc_algorithms=("ES256",))
    assert keyed.client(issuer.token("RS256")).get("/v1/jobs").status_code == 401
    assert keyed.client(issuer.token("ES256")).get("/v1/jobs").status_code == 200
    keyed.close()


def test_keys_are_fetched_once_and_again_for_a_new_one_but_not_at_will(
    issuer: SmallIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = _gateway_that_trusts(issuer, tmp_path)
    issuer.asked.clear()
    for _ in range(3):
        assert keyed.client(issuer.token()).get("/v1/jobs").status_code == 200
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    new = ECKey.generate_key("P-256", {"kid": "new"})
    issuer.published.append(new)
    assert keyed.client(issuer.token("ES256", new)).get("/v1/jobs").status_code == 401, "too soon to ask again"
    monkeypatch.setattr(tokens, "REFRESH_AT_MOST_EVERY_S", 0.0)
    assert keyed.client(issuer.token("ES256", new)).get("/v1/jobs").status_code == 200
    asked = len(issuer.asked)
    monkeypatch.setattr(tokens, "REFRESH_AT_MOST_EVERY_S", 30.0)
    for number in range(20):
        unknown = ECKey.generate_key("P-256", {"kid": f"unknown-{number}"})
        assert keyed.client(issuer.token("ES256", unknown)).get("/v1/jobs").status_code == 401
    assert len(issuer.asked) == asked
    issuer.published.remove(new)
    keyed.close()


def test_an_issuer_that_is_down_is_503_until_its_keys_were_seen_once(
    issuer: SmallIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed = _gateway_that_trusts(issuer, tmp_path)
    issuer.is_down = True
    refused = keyed.client(issuer.token()).get("/v1/jobs")
    assert (refused.status_code, refused.get_json()["reason"]) == (503, "ISSUER_UNAVAILABLE")
    assert int(refused.headers["Retry-After"]) >= 1
    assert keyed.operator.get("/v1/jobs").status_code == 200, "API keys need no issuer"
    monkeypatch.setattr(tokens, "REFRESH_AT_MOST_EVERY_S", 0.0)
    issuer.is_down = False
    assert keyed.client(issuer.token()).get("/v1/jobs").status_code == 200
    issuer.is_down = True
    assert keyed.client(issuer.token()).get("/v1/jobs").status_code == 200, "its keys are known"
    issuer.is_down = False
    keyed.close()


def test_nonsense_in_the_place_of_a_token_is_401(keyed: KeyedGateway, issuer: SmallIssuer) -> None:
    good = issuer.token()
    texts = strategies.text(strategies.characters(codec="ascii", exclude_categories=["C", "Z"]), max_size=60)
    cut = strategies.integers(1, len(good) - 1).map(lambda length: good[:length])
    parts = strategies.lists(texts, min_size=3, max_size=3).map(".".join)

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @hypothesis.given(strategies.one_of(parts, cut))
    def attempt(token: str) -> None:
        assert keyed.client(token or "x").get("/v1/models").status_code == 401

    attempt()


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "https://id.example.org"},
        {"oidc_issuer": "http://id.example.org", "oidc_audience": "a"},
        {"oidc_issuer": "https://id.example.org", "oidc_audience": "a", "oidc_jwks_url": "http://id.example.org/k"},
        {"oidc_issuer": "https://id.example.org", "oidc_audience": "a", "oidc_algorithms": ["HS256"]},
    ],
)
def test_settings_that_would_trust_too_much_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="oidc"):
        GatewaySettings(**settings)
