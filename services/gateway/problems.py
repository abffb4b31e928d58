"""Failures as RFC 9457 problems, which also carry the `error` object that OpenAI's clients read."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Final

from apiflask import APIFlask, HTTPError
from flask import Response, g, json, request
from prometheus_client import Counter
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException

from services.common.errors import REASONS, LikenessError
from services.common.logs import request_id_var

CONTENT_TYPE: Final = "application/problem+json"
DEFAULT_RETRY_AFTER_S: Final = 1.0
problems_total: Final = Counter("likeness_problems", "Requests that were refused or failed, by the reason", ["reason"])
_log: Final = logging.getLogger(__name__)

_REASON_OF_STATUS: Final = {
    400: "REQUEST_MALFORMED",
    403: "ORIGIN_REFUSED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "MEDIA_TOO_LARGE",
    416: "RANGE_NOT_SATISFIABLE",
}
_OPENAI_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class FieldError(BaseModel):
    """One field that is not valid."""

    field: str
    detail: str


class OpenAIError(BaseModel):
    """The failure as OpenAI's API tells it."""

    message: str
    type: str
    code: str
    param: str | None = None


class Problem(BaseModel):
    """A failure (RFC 9457)."""

    type: str = Field(description="Stable; /problems/ and the reason in lower case.")
    title: str
    status: int
    detail: str
    reason: str = Field(description="Stable name of the failure, the same as in gRPC's ErrorInfo.")
    request_id: str
    field: str | None = Field(None, description="The request field at fault.")
    errors: list[FieldError] = Field(default_factory=list, description="All fields at fault.")
    error: OpenAIError


def problem_type(reason: str) -> str:
    return "/problems/" + reason.lower().replace("_", "-")


def describe(error: LikenessError, errors: list[FieldError] | None = None) -> dict[str, Any]:
    """The problem of an error as a JSON object."""
    status = error.row.http_status
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    found = errors or ([FieldError(field=error.field, detail=error.detail)] if error.field else [])
    problem = Problem(
        type=problem_type(error.reason),
        title=error.row.title,
        status=status,
        detail=error.detail,
        reason=error.reason,
        request_id=request_id_var.get(),
        field=error.field,
        errors=found,
        error=OpenAIError(message=error.detail, type=kind, code=error.reason.lower(), param=error.field),
    )
    return problem.model_dump(mode="json")


def problem_response(error: LikenessError, errors: list[FieldError] | None = None) -> Response:
    status = error.row.http_status
    problems_total.labels(reason=error.reason).inc()
    g.problem_reason = error.reason
    response = Response(json.dumps(describe(error, errors)), status=status, content_type=CONTENT_TYPE)
    if status in (429, 503):
        wait_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    challenge = _challenge(error)
    if challenge is not None:
        response.headers["WWW-Authenticate"] = challenge
    return response


def _challenge(error: LikenessError) -> str | None:
    """How to authenticate (RFC 6750, 3): without an error code when the request made no attempt."""
    if error.reason == "INSUFFICIENT_SCOPE":
        return f'Bearer realm="likeness", error="insufficient_scope", scope="{g.get("scopes_needed", "")}"'
    if error.reason != "UNAUTHENTICATED":
        return None
    attempted = "Authorization" in request.headers
    return 'Bearer realm="likeness"' + (', error="invalid_token"' if attempted else "")


def register_problems(app: APIFlask) -> None:
    """Makes every failure of the application a problem, known or not."""
    app.register_error_handler(LikenessError, problem_response)
    app.register_error_handler(HTTPError, _from_validation)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(DBAPIError, _from_database)
    app.register_error_handler(Exception, _from_unexpected)


def _from_validation(error: HTTPError) -> Response:
    """APIFlask tells of invalid fields as {location: {field: [messages]}}."""
    located = error.detail if isinstance(error.detail, dict) else {}
    errors = [
        FieldError(field=field if field != "_schema" else location, detail=message.removeprefix("Value error, "))
        for location, fields in located.items()
        for field, messages in fields.items()
        for message in messages
    ]
    if not errors:
        return _from_status(error.status_code, error.message or "The request is not valid.")
    detail = "; ".join(f"{item.field}: {item.detail}" for item in errors[:5])
    return problem_response(LikenessError("INVALID_FIELD", detail, field=errors[0].field), errors)


def _from_http(error: HTTPException) -> Response:
    detail = error.description or error.name
    if error.code == 404:
        detail = f"There is no resource {request.path[:200]!r}."
    elif error.code == 405:
        detail = f"{request.path[:200]!r} does not know the method {request.method}."
    response = _from_status(error.code or 500, detail)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "content-range"):
            response.headers[name] = value
    return response


def _from_status(status: int, detail: str) -> Response:
    reason = _REASON_OF_STATUS.get(status) or ("INTERNAL" if status >= 500 else "REQUEST_MALFORMED")
    if REASONS[reason].http_status != status:
        detail = f"{HTTPStatus(status).phrase}: {detail}"
    return problem_response(LikenessError(reason, detail))


def _from_database(error: DBAPIError) -> Response:
    _log.exception("the database failed")
    return problem_response(LikenessError("DATABASE_UNAVAILABLE", "The database does not answer. Try again later."))


def _from_unexpected(error: Exception) -> Response:
    _log.exception("unexpected failure")
    return problem_response(
        LikenessError("INTERNAL", f"An unexpected failure; the log has it under request {request_id_var.get()}.")
    )
