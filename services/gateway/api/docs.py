"""The pages: /, a small workbench; /live, camera to canvas; /docs, the API rendered from /openapi.json; /problems/...,
what a failure means."""

from __future__ import annotations

from typing import Final

from apiflask import APIBlueprint
from flask import Response, current_app
from markupsafe import escape

from services.common.errors import REASONS, LikenessError
from services.gateway.accounts import public

bp = APIBlueprint("pages", __name__, enable_openapi=False)
_POLICY: Final = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@bp.get("/")
@public
def workbench() -> Response:
    return _page("index.html")


@bp.get("/live")
@public
def live_page() -> Response:
    return _page("live.html")


@bp.get("/docs")
@public
def api_docs() -> Response:
    return _page("docs.html")


@bp.get("/problems/<name>")
@public
def problem(name: str) -> Response:
    row = REASONS.get(name.upper().replace("-", "_"))
    if row is None:
        raise LikenessError("NOT_FOUND", f"There is no problem type {name!r}.")
    text = (
        f"<!doctype html><title>{escape(name)}</title><h1>{escape(row.title)}</h1><p>HTTP status {row.http_status}</p>"
    )
    return _guarded(Response(text, content_type="text/html; charset=utf-8"))


def _page(name: str) -> Response:
    return _guarded(current_app.send_static_file(name))


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    return response
