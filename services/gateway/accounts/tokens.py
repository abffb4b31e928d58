"""JSON web tokens of an OpenID Connect issuer: signature, issuer, audience, time; and whose they are (RFC 7519)."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from typing import Any, Final

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from sqlalchemy import select

from services.common.errors import LikenessError
from services.gateway.accounts.principal import SCOPES, Limits, Principal
from services.gateway.context import Gateway
from services.gateway.db import Tenant
from services.gateway.settings import GatewaySettings

FETCH_TIMEOUT_S: Final = 5.0
MAX_AGE_S: Final = 3600.0  # keys that the issuer has withdrawn are not trusted for longer
REFRESH_AT_MOST_EVERY_S: Final = 30.0  # however many tokens name a key that nobody knows
LEEWAY_S: Final = 30
SCOPE_PREFIX: Final = "likeness:"
_log: Final = logging.getLogger(__name__)
# The name of the algorithm has a successor (RFC 9864), the algorithm has not.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class Issuer:
    """Verifies tokens of the issuer that the settings name, with its published keys."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        # Never none and never HMAC, whose key would be the public one.
        self._registry = JWSRegistry(algorithms=list(settings.oidc_algorithms), strict_check_header=False)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S,
            iss={"essential": True, "value": settings.oidc_issuer},
            aud={"essential": True, "value": settings.oidc_audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._fetched_at = self._asked_at = float("-inf")

    def principal(self, gateway: Gateway, token: str) -> Principal:
        """Whose token it is.

        Raises:
            LikenessError: UNAUTHENTICATED, TENANT_DISABLED, or ISSUER_UNAVAILABLE while its keys cannot be had.
        """
        claims = self._verify(token)
        name = claims.get(self._settings.oidc_tenant_claim)
        query = select(Tenant.limits, Tenant.disabled_at).where(Tenant.id == name)
        row = None
        if isinstance(name, str):
            with gateway.database.engine.connect() as connection:
                row = connection.execute(query).one_or_none()
        if row is None:
            detail = f"The claim `{self._settings.oidc_tenant_claim}` of the token names no tenant of this gateway."
            raise LikenessError("UNAUTHENTICATED", detail)
        if row.disabled_at is not None:
            raise LikenessError("TENANT_DISABLED", "This tenant is disabled. Its operator can enable it again.")
        given = _listed(claims.get(self._settings.oidc_scope_claim))
        return Principal(
            tenant=str(name),
            actor=claims["sub"],
            scopes=frozenset(scope for scope in SCOPES if scope in given),
            key_id=None,
            limits=Limits.of(gateway.settings, row.limits),
        )

    def _verify(self, token: str) -> dict[str, Any]:
        try:
            try:
                decoded = self._decode(token, self._current_keys())
            except InvalidKeyIdError:  # the issuer may have a new key
                decoded = self._decode(token, self._current_keys(refresh=True))
            self._claims.validate(decoded.claims)
        except (JoseError, ValueError, RecursionError) as error:
            raise LikenessError("UNAUTHENTICATED", f"The token is not valid: {error}") from error
        return decoded.claims

    def _decode(self, token: str, keys: KeySet) -> jwt.Token:
        return jwt.decode(token, keys, registry=self._registry)

    def _current_keys(self, *, refresh: bool = False) -> KeySet:
        with self._lock:
            now = time.monotonic()
            is_due = refresh or self._keys is None or now - self._fetched_at > MAX_AGE_S
            if is_due and now - self._asked_at > REFRESH_AT_MOST_EVERY_S:
                self._asked_at = now
                try:
                    self._keys = self._fetch()
                    self._fetched_at = now
                except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
                    _log.warning("the keys of %s cannot be had: %r", self._settings.oidc_issuer, error)
            if self._keys is None or now - self._fetched_at > MAX_AGE_S + REFRESH_AT_MOST_EVERY_S:
                detail = "The keys of the issuer cannot be had, so that no token can be verified. Try again later."
                raise LikenessError("ISSUER_UNAVAILABLE", detail, retry_after_s=REFRESH_AT_MOST_EVERY_S)
            return self._keys

    def _fetch(self) -> KeySet:
        settings = self._settings
        with httpx.Client(timeout=FETCH_TIMEOUT_S) as client:
            url = settings.oidc_jwks_url
            if not url:
                found = _json(client, settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration")
                if found["issuer"] != settings.oidc_issuer:
                    raise ValueError(f"the discovery document is of {found['issuer']!r}")
                url = str(found["jwks_uri"])
            return KeySet.import_key_set(_json(client, url))  # type: ignore[arg-type]


def _json(client: httpx.Client, url: str) -> dict[str, Any]:
    answer = client.get(url).raise_for_status().json()
    if not isinstance(answer, dict):
        raise ValueError(f"{url} has no JSON object")
    return answer


def _listed(value: Any) -> set[str]:
    """Scopes as a list or separated by spaces, with or without `likeness:` before them."""
    names = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return {str(name).removeprefix(SCOPE_PREFIX) for name in names}
