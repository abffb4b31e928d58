"""What was done, by whom, to what: an entry for every request that changes something, also when it failed.

What happens outside of requests, in workers and after the end of an answer, is written by `auditing.records`.
"""

from __future__ import annotations

import logging
from typing import Final

from apiflask import APIFlask
from flask import Response, current_app, g, request
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.accounts.principal import Principal
from services.gateway.auditing import Entry, append_entry, note

_READING: Final = ("GET", "HEAD", "OPTIONS")
_log: Final = logging.getLogger(__name__)


def register_audit(app: APIFlask) -> None:
    app.after_request(_write_entry)


def record_action(action: str, object_id: str | None, status: int) -> None:
    """Writes the entry of this request now. Raises what SQLAlchemy raises."""
    append_entry(current_app.extensions["likeness"].database, _entry(action, object_id, status))


def entry_of_answer(object_id: str, status: int = 200) -> Entry:
    """The entry of this request as it will be answered, for who writes it together with what was done.

    Once that is committed, `entry_is_written` keeps it from being written again.
    """
    return _entry(_operation_id(str(request.endpoint)), object_id, status)


def entry_is_written(status: int = 200) -> None:
    """This request's entry has been committed. Should it be answered with another status, that gets one of its own."""
    g.audited_as = status


def _entry(action: str, object_id: str | None, status: int) -> Entry:
    principal: Principal = g.principal
    details = g.get("audit_details") or None
    return Entry(principal.tenant, principal.actor, action, object_id, g.request_id, status, details)


def _write_entry(response: Response) -> Response:
    """Refusals for their number alone are left out: they would fill the table that limits protect."""
    if (
        "is_replay" in g
        or request.method in _READING
        or "principal" not in g
        or request.endpoint is None
        or response.status_code in (429, g.get("audited_as"))
    ):
        return response
    if response.status_code >= 400 and "problem_reason" in g:
        note(reason=g.problem_reason)
    try:
        record_action(_operation_id(request.endpoint), _object_id(response), response.status_code)
    except SQLAlchemyError:
        _log.exception("request %s is missing in the audit", g.request_id)
    return response


def _operation_id(endpoint: str) -> str:
    spec = getattr(current_app.view_functions[endpoint], "_spec", {})
    return str(spec.get("operation_id") or endpoint)


def _object_id(response: Response) -> str | None:
    """The id in the answer, or else in the path."""
    if response.status_code < 400:
        if response.is_json and not response.is_streamed:
            body = response.get_json(silent=True)
            if isinstance(body, dict) and isinstance(body.get("id"), str):
                return str(body["id"])
        if "X-Likeness-Job" in response.headers:
            return response.headers["X-Likeness-Job"]
    return next((str(value) for value in (request.view_args or {}).values()), None)
