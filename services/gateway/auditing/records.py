"""Entries of the audit, from wherever something happens: within a request, or in a worker."""

from __future__ import annotations

from typing import Any, Final

from flask import g, has_request_context, request

from services.gateway.auditing.chain import append_entry
from services.gateway.db import Database

_READING: Final = ("GET", "HEAD", "OPTIONS")


def note(**details: Any) -> bool:
    """Adds to the entry that this request will get: what JSON can hold, no secrets and no names of people.

    Whether there is such an entry: False outside of requests, where `record_event` is for that.
    """
    if not has_request_context() or "principal" not in g or request.method in _READING:
        return False
    g.audit_details = {**g.get("audit_details", {}), **details}
    return True


def record_event(
    database: Database,
    action: str,
    *,
    tenant: str,
    actor: str,
    request_id: str,
    object_id: str | None = None,
    status: int = 200,
    **details: Any,
) -> None:
    """Writes an entry now. Raises what SQLAlchemy raises.

    Args:
        status: as of HTTP: below 400 it was done, else refused or failed.
    """
    append_entry(
        database,
        tenant=tenant,
        actor=actor,
        action=action,
        object_id=object_id,
        request_id=request_id,
        status=status,
        details=details or None,
    )


def record_output(
    database: Database,
    *,
    tenant: str,
    actor: str,
    request_id: str,
    job_id: str,
    consent_id: str,
    mark: int,
    sha256: str | None,
    content_type: str,
    **more: Any,
) -> None:
    """That an output was released: with the entry of the request that it answers, else with one of its own.

    Args:
        sha256: of the file; None for what has no end, such as live frames.
        more: such as the ids of grants.
    """
    output = {"job": job_id, "consent": consent_id, "mark": mark, "sha256": sha256, "content_type": content_type}
    if not note(output={**output, **more}):
        record_event(
            database,
            "release_output",
            tenant=tenant,
            actor=actor,
            request_id=request_id,
            object_id=job_id,
            output={**output, **more},
        )
