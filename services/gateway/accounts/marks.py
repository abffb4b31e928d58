"""Marks on views: which scope a request needs. A view without a mark needs `admin`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from services.gateway.accounts.principal import SCOPES, Scope

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
UNMARKED: Final[tuple[Scope, ...]] = ("admin",)


def needs(*scopes: Scope) -> Callable[[ViewT], ViewT]:
    """Only who has one of these scopes may use the view; without any, whoever is authenticated."""
    unknown = set(scopes) - set(SCOPES)
    if unknown:
        raise ValueError(f"unknown scopes {sorted(unknown)}; there are {', '.join(SCOPES)}")

    def mark(view: ViewT) -> ViewT:
        view.__dict__["scopes_needed"] = scopes
        return view

    return mark


def public(view: ViewT) -> ViewT:
    """The view answers everybody: pages, and what probes and scrapers ask."""
    view.__dict__["scopes_needed"] = None
    return view


def open_to_strangers(view: ViewT) -> ViewT:
    """The view also answers who has no key, where the settings allow it: with what is told to everybody."""
    view.__dict__["open_to_strangers"] = True
    return view


def is_open_to_strangers(view: Callable[..., Any]) -> bool:
    return bool(view.__dict__.get("open_to_strangers", False))


def starts_job(view: ViewT) -> ViewT:
    """The view begins a job: it is refused while the tenant has too many that have not ended."""
    view.__dict__["starts_job"] = True
    return view


def is_job_starter(view: Callable[..., Any]) -> bool:
    return bool(view.__dict__.get("starts_job", False))


def scopes_needed(view: Callable[..., Any]) -> tuple[Scope, ...] | None:
    """The scopes one of which is needed; None where no authentication is."""
    found: tuple[Scope, ...] | None = view.__dict__.get("scopes_needed", UNMARKED)
    return found


def is_marked(view: Callable[..., Any]) -> bool:
    return "scopes_needed" in view.__dict__
