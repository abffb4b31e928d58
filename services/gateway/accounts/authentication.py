"""Before every request: who asks, and whether the view is for them."""

from __future__ import annotations

import hashlib
from typing import cast

from apiflask import APIFlask
from flask import current_app, g, request

from services.common.errors import LikenessError
from services.gateway.accounts.key_records import principal_of_key, principal_of_local
from services.gateway.accounts.limits import count_failed_attempt
from services.gateway.accounts.marks import is_open_to_strangers, public, scopes_needed
from services.gateway.accounts.principal import Principal, stranger
from services.gateway.accounts.principal_cache import PrincipalCache, register_principal_cache
from services.gateway.accounts.secrets import KEY_MARK
from services.gateway.accounts.tokens import Issuer
from services.gateway.context import Gateway

SOCKET_PROTOCOL = "likeness.live"
DOTS_OF_A_TOKEN = 2
SOCKET_KEY_PROTOCOL = "likeness.key."


def register_authentication(app: APIFlask) -> None:
    """Pages are for everybody; every other view asks who is there."""
    settings = app.extensions["likeness"].settings
    app.extensions["likeness_issuer"] = Issuer(settings) if settings.oidc_issuer else None
    for endpoint in ("static", "openapi.spec"):
        if endpoint in app.view_functions:
            app.view_functions[endpoint] = public(app.view_functions[endpoint])
    register_principal_cache(app)
    app.before_request(_authenticate)


def current_principal() -> Principal:
    """Who made this request. Only in views that are not public."""
    return cast(Principal, g.principal)


def _authenticate() -> None:
    if request.endpoint is None:
        return
    needed = scopes_needed(current_app.view_functions[request.endpoint])
    if needed is None or request.method == "OPTIONS":
        return
    try:
        principal = g.principal = _identify(current_app.extensions["likeness"])
    except LikenessError as error:
        if error.reason != "UNAUTHENTICATED":
            raise
        found = _stranger()
        if found is None:
            count_failed_attempt()
            raise
        g.principal = found
        return
    if needed and principal.scopes.isdisjoint(needed):
        wanted = " or ".join(f"`{scope}`" for scope in needed)
        g.scopes_needed = " ".join(needed)
        raise LikenessError("INSUFFICIENT_SCOPE", f"This needs the scope {wanted}, which the key does not have.")


def _stranger() -> Principal | None:
    """Who has no credential at all, where the view and the settings are for such."""
    settings = current_app.extensions["likeness"].settings
    view = current_app.view_functions[str(request.endpoint)]
    if not settings.public_verifications_per_minute or not is_open_to_strangers(view) or _credential() is not None:
        return None
    return stranger(request.remote_addr or "unknown", settings.public_verifications_per_minute)


def _identify(gateway: Gateway) -> Principal:
    credential = _credential()
    is_open = gateway.settings.is_open
    cache: PrincipalCache = current_app.extensions["likeness_principals"]
    if credential is not None and credential.startswith(KEY_MARK):
        key = hashlib.sha256(credential.encode()).digest()
        return cache.get(key, lambda: principal_of_key(gateway, credential))
    issuer: Issuer | None = current_app.extensions["likeness_issuer"]
    if issuer is not None and credential is not None and credential.count(".") == DOTS_OF_A_TOKEN:
        return issuer.principal(gateway, credential)
    if is_open:
        # Clients that insist on sending a key send "unused", and what stands in front may send what is its own.
        return cache.get("local", lambda: principal_of_local(gateway))
    if credential is None:
        raise LikenessError("UNAUTHENTICATED", "Send an API key as `Authorization: Bearer lk_...`.")
    raise LikenessError("UNAUTHENTICATED", "The credential is not an API key, which looks like lk_..._... .")


def _credential() -> str | None:
    """The bearer token. Browsers cannot set headers of a WebSocket and name it as one of the subprotocols."""
    kind, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if request.headers.get("Upgrade", "").lower() == "websocket":
        for protocol in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
            if protocol.strip().startswith(SOCKET_KEY_PROTOCOL):
                return protocol.strip().removeprefix(SOCKET_KEY_PROTOCOL)
    return None
