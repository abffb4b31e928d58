"""The pages: /, a small workbench; /live, camera to canvas; /verify, whether a file was made here; /docs, the API
rendered from /openapi.json; /problems/..., what a failure means."""

from __future__ import annotations

from typing import Final

from apiflask import APIBlueprint
from flask import Response, current_app, jsonify, request
from markupsafe import escape

from services.common.errors import REASONS, LikenessError
from services.gateway.accounts import public
from services.gateway.problems import problem_type

_NO_RETRY: Final = "The same request would fail again; the problem's `detail` says what to change."
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


@bp.get("/verify")
@public
def verify_page() -> Response:
    return _page("verify.html")


@bp.get("/docs")
@public
def api_docs() -> Response:
    return _page("docs.html")


@bp.get("/problems")
@public
def problems() -> Response:
    """All types, for people and programs."""
    rows = [_told(reason) for reason in REASONS]
    if _wants_json():
        return jsonify({"object": "list", "data": rows})
    items = "".join(f'<li><a href="{row["type"]}">{row["reason"]}</a> {escape(row["title"])}</li>' for row in rows)
    return _guarded(_html("Problems", f"<ul>{items}</ul>"))


@bp.get("/problems/<name>")
@public
def problem(name: str) -> Response:
    reason = name.upper().replace("-", "_")
    if reason not in REASONS:
        raise LikenessError("NOT_FOUND", f"There is no problem type {name!r}.")
    row = _told(reason)
    if _wants_json():
        return jsonify(row)
    facts = f"<p>Reason <code>{reason}</code>, HTTP status {row['status']}, gRPC {row['grpc_code']}.</p>"
    advice = "It may help to try again after the time in Retry-After." if row["retry_helps"] else _NO_RETRY
    return _guarded(_html(str(row["title"]), f'{facts}<p>{advice}</p><p><a href="/problems">All problems</a></p>'))


def _told(reason: str) -> dict[str, object]:
    row = REASONS[reason]
    return {
        "type": problem_type(reason),
        "reason": reason,
        "title": row.title,
        "status": row.http_status,
        "grpc_code": row.code.name,
        "retry_helps": row.http_status in (429, 503, 504),
    }


def _wants_json() -> bool:
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _html(title: str, body: str) -> Response:
    page = f"<!doctype html><html lang=en><title>{escape(title)}</title><h1>{escape(title)}</h1>{body}</html>"
    return Response(page, content_type="text/html; charset=utf-8")


def _page(name: str) -> Response:
    return _guarded(current_app.send_static_file(name))


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    return response
