"""Entity tags of JSON answers: who has the newest version already is told so in few bytes."""

from __future__ import annotations

from apiflask import APIFlask
from flask import Response, request


def register_entity_tags(app: APIFlask) -> None:
    app.after_request(_compare)


def _compare(response: Response) -> Response:
    """304 where If-None-Match names what would be sent (RFC 9110, 13.1.2). Files have tags of their own."""
    is_resource = request.method in ("GET", "HEAD") and request.path.startswith("/v1/")
    if not is_resource or response.status_code != 200 or not response.is_json or response.is_streamed:
        return response
    response.add_etag()
    response.headers.setdefault("Cache-Control", "private, no-cache")
    response.vary.add("Authorization")
    response.make_conditional(request)
    return response
