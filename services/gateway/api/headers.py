"""Request headers and bodies that an endpoint understands: marks on the view that the OpenAPI page is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

ViewT = TypeVar("ViewT", bound=Callable[..., Any])

PREFER: Final[dict[str, Any]] = {
    "name": "Prefer",
    "in": "header",
    "description": "RFC 7240. `respond-async`: queue the work and answer 202 at once. `wait=n`: queue it, and answer "
    "with the result if it is there within n seconds (60 at most), else 202. `Preference-Applied` says what was done.",
    "schema": {"type": "string", "examples": ["respond-async", "respond-async, wait=10"]},
}
LAST_EVENT_ID: Final[dict[str, Any]] = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Continue after the event with this id.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
}


def takes_headers(*parameters: dict[str, Any]) -> Callable[[ViewT], ViewT]:
    """Notes OpenAPI parameter objects on the view."""

    def mark(view: ViewT) -> ViewT:
        view.__dict__["header_parameters"] = parameters
        return view

    return mark


def header_parameters(view: Callable[..., Any]) -> tuple[dict[str, Any], ...]:
    found: tuple[dict[str, Any], ...] = view.__dict__.get("header_parameters", ())
    return found


def takes_bodies(**schemas: dict[str, Any]) -> Callable[[ViewT], ViewT]:
    """Notes on the view that its body may come as `json`, as `form` or as `binary`, each with a JSON schema."""

    def mark(view: ViewT) -> ViewT:
        types = {
            "json": "application/json",
            "form": "multipart/form-data",
            "binary": "application/octet-stream",
        }
        view.__dict__["request_bodies"] = {types[name]: {"schema": schema} for name, schema in schemas.items()}
        return view

    return mark


def request_bodies(view: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = view.__dict__.get("request_bodies", {})
    return found
