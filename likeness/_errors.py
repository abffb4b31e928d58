"""What a caller of the client may have to catch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx


class LikenessClientError(Exception):
    """Base of everything that the client raises on purpose."""


class LikenessConnectionError(LikenessClientError):
    """The server could not be reached, or the connection broke."""


class LikenessAPIError(LikenessClientError):
    """The server refused, as RFC 9457 problem.

    Attributes:
        status: HTTP status.
        title: what kind of fault; the same for every fault of one reason.
        detail: what was wrong this time and what to do.
        reason: machine-readable name such as `CONSENT_REQUIRED`; empty when the server told none.
        field: the request field at fault, where there is one.
        retry_after_s: when trying again may help.
        request_id: names the request in the server's logs.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        reason: str = "",
        field: str | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status = status
        self.title = title
        self.detail = detail
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    @classmethod
    def from_response(cls, response: httpx.Response) -> LikenessAPIError:
        """Reads a problem; anything else (a proxy's page) keeps its status and the start of its text."""
        problem = _json_object(response)
        title = problem.get("title") or f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        detail = problem.get("detail")
        if detail is None and not problem:
            detail = response.text.strip()[:200]
        field = problem.get("field")
        return cls(
            response.status_code,
            str(title),
            str(detail or ""),
            reason=str(problem.get("reason") or ""),
            field=str(field) if field else None,
            retry_after_s=_retry_after_s(response),
            request_id=response.headers.get("X-Request-Id", ""),
        )


class LikenessJobError(LikenessClientError):
    """Work in the background did not succeed.

    Attributes:
        job_id: of its record.
        status: failed or canceled.
        reason: machine-readable name such as `FACE_NOT_FOUND`.
        detail: what was wrong.
        field: the request field at fault, where there is one.
    """

    def __init__(self, job_id: str, status: str, error: Mapping[str, Any]) -> None:
        self.job_id = job_id
        self.status = status
        self.reason = str(error.get("reason") or "")
        self.detail = str(error.get("detail") or "")
        self.field: str | None = error.get("field")
        super().__init__(f"{job_id} {'was cancelled' if status == 'canceled' else status}: {self.detail}".rstrip(": "))


def _json_object(response: httpx.Response) -> dict[str, Any]:
    if "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        value = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _retry_after_s(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is not used by the server."""
    try:
        return float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
