"""What many operations of the OpenAPI page have in common: keys and scopes, repetition without harm, entity tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from services.gateway.accounts import scopes_needed
from services.gateway.idempotency import HEADER, KEY_PATTERN, REPLAYED

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "An API key, `lk_...`, or a token of the gateway's OpenID Connect issuer. On the machine itself (loopback) "
            "none is needed, unless the setting `auth` is `keys`. Each operation names the scopes one of which is "
            "needed; where it names none, any key will do. WebSockets take a key as subprotocol "
            "`likeness.key.lk_...` beside `likeness.live`."
        ),
    }
}
_IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "description": (
        "Makes repeating the request harmless for a day: what succeeded is not done again, and its answer is sent once "
        f"more with `{REPLAYED}: true`. Streamed and large binary answers are made again."
    ),
    "schema": {"type": "string", "pattern": KEY_PATTERN, "examples": ["8e03978e-40d5-43e8-bc93-6894a57f9324"]},
}
_IF_NONE_MATCH: Final[dict[str, Any]] = {
    "name": "If-None-Match",
    "in": "header",
    "description": "Entity tags that the client has: 304 when the newest is among them.",
    "schema": {"type": "string"},
}
_ETAG: Final = {"description": "Changes with the content.", "schema": {"type": "string"}}


def add_conventions(operation: dict[str, Any], view: Callable[..., Any], path: str, method: str) -> tuple[str, ...]:
    """Completes an operation of the page.

    Returns:
        The further reasons with which it can fail.
    """
    scopes = scopes_needed(view)
    if scopes is None:
        operation["security"] = []
        return ()
    operation["security"] = [{"bearer": [scope]} for scope in scopes] or [{"bearer": []}]
    reasons = ["UNAUTHENTICATED", "TENANT_DISABLED", "RATE_LIMITED"] + (["INSUFFICIENT_SCOPE"] if scopes else [])
    if method == "POST":
        operation.setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
        reasons += ["IDEMPOTENCY_IN_FLIGHT", "IDEMPOTENCY_MISMATCH"]
        if getattr(view, "answer_is_secret", False):
            reasons.append("IDEMPOTENCY_SPENT")
    answer = operation["responses"].get("200", {})
    if method == "GET" and path.startswith("/v1/") and "application/json" in answer.get("content", {}):
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
        operation["responses"].setdefault("304", {"description": "Not changed"})
        answer.setdefault("headers", {})["ETag"] = _ETAG
    return tuple(reasons)
