"""`Prefer: respond-async` and `Prefer: wait=n` (RFC 7240): whether the answer may come before the work is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import request
from werkzeug.http import parse_dict_header

MAX_WAIT_S: Final = 60


@dataclass(frozen=True)
class Preference:
    """What the request would like.

    Attributes:
        respond_async: queue the work, and do not wait.
        wait_s: queue the work, and answer with its result if it is done within so many seconds.
    """

    respond_async: bool = False
    wait_s: int | None = None

    @property
    def may_queue(self) -> bool:
        return self.respond_async or self.wait_s is not None

    def applied(self) -> str:
        """What to say in Preference-Applied."""
        return "respond-async" if self.wait_s is None else f"wait={self.wait_s}"


def current_preference() -> Preference:
    """Of this request. A wait that is no number is as if it had not been said; a long one is cut short."""
    said = {name.lower(): value for name, value in parse_dict_header(request.headers.get("Prefer", "")).items()}
    wait = (said.get("wait") or "").partition(";")[0].strip()
    wait_s = min(MAX_WAIT_S, int(wait)) if wait.isascii() and wait.isdigit() else None
    return Preference("respond-async" in {name.partition(";")[0].strip() for name in said}, wait_s)
