"""Pages of other sites: refused, but for those of the origins that the settings name (CORS)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from apiflask import APIFlask
from flask import request
from flask_cors import CORS

from services.common.errors import LikenessError
from services.gateway.settings import GatewaySettings

ANY: Final = "*"
MAX_AGE_S: Final = 600
ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "Range",
    "X-Request-Id",
)
EXPOSED_HEADERS: Final = (
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Likeness-Figures",
    "X-Likeness-Job",
    "X-Likeness-Real-Time-Factor",
    "X-Likeness-Speaker-Similarity",
    "X-Likeness-Time-To-First-Audio-Ms",
    "X-Request-Id",
)


def register_origins(app: APIFlask, settings: GatewaySettings) -> None:
    """Credentials are headers that a page must set itself, never cookies: none are ever allowed to come along."""
    allowed = settings.cors_origins

    def refuse_other_sites() -> None:
        """Where no key is needed, this is all that keeps other sites from recording consents here."""
        origin = request.headers.get("Origin")
        if origin is None or ANY in allowed or origin in allowed or urlsplit(origin).netloc == request.host:
            return
        raise LikenessError("ORIGIN_REFUSED", f"Requests from pages of {origin[:100]!r} are not answered.")

    app.before_request(refuse_other_sites)
    if allowed:
        CORS(
            app,
            resources={r"/(v1/.*|openapi\.json|problems/.*|healthz|readyz)": {}},
            origins=list(allowed),
            allow_headers=list(ALLOWED_HEADERS),
            expose_headers=list(EXPOSED_HEADERS),
            max_age=MAX_AGE_S,
            supports_credentials=False,
        )
