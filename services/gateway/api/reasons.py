"""Which reasons an endpoint can fail with: a mark on the view that the OpenAPI page is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from services.common.errors import REASONS

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
MEDIA: Final = ("MEDIA_EMPTY", "MEDIA_UNREADABLE", "MEDIA_UNSUPPORTED", "MEDIA_TOO_LARGE")
CONSENT: Final = (
    "CONSENT_REQUIRED",
    "CONSENT_NOT_LIVE",
    "CONSENT_KIND_REFUSED",
    "LIKENESS_REFUSED",
    "PROTECTED_PERSON",
)
SAFETY: Final = ("SAFETY_REFUSED", "SAFETY_UNAVAILABLE")
TEXT: Final = ("TEXT_UNPRONOUNCEABLE", "LANGUAGE_UNSUPPORTED", "MARKUP_INVALID", "PRONUNCIATION_INVALID")
STAGE: Final = ("QUEUE_FULL", "STAGE_UNAVAILABLE", "MODEL_LOADING", "DRAINING", "DEADLINE_EXCEEDED")


def fails_with(*reasons: str) -> Callable[[ViewT], ViewT]:
    """Notes the reasons (keys of `REASONS`) on the view."""
    unknown = [reason for reason in reasons if reason not in REASONS]
    if unknown:
        raise ValueError(f"unknown reasons {unknown}")

    def mark(view: ViewT) -> ViewT:
        view.__dict__["failure_reasons"] = reasons
        return view

    return mark


def reasons_of(view: Callable[..., Any]) -> tuple[str, ...]:
    reasons: tuple[str, ...] = getattr(view, "failure_reasons", ())
    return reasons
