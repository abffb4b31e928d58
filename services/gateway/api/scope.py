"""What this request is: its id, when it arrived."""

from __future__ import annotations

from flask import g


def current_request_id() -> str:
    return str(g.request_id)


def arrived_at() -> float:
    """On the monotonic clock."""
    return float(g.started_at)
