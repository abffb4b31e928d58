"""Entries of the audit, from wherever something happens: within a request, or in a worker."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any, Final

from services.common.errors import LikenessError
from services.common.grants import Grant
from services.gateway.auditing.chain import Entry, append_entry
from services.gateway.db import Database, Job

SERVER: Final = "likeness"  # the actor of what happens when nobody asks
_READING: Final = ("GET", "HEAD", "OPTIONS")


def note(**details: Any) -> bool:
    """Adds to the entry that this request will get: what JSON can hold, no secrets and no names of people.

    Whether there is such an entry: False outside of requests, where `record_event` is for that.
    """
    if "flask" not in sys.modules:  # a worker, which has no requests and needs no web framework
        return False
    from flask import g, has_request_context, request

    if not has_request_context() or "principal" not in g or request.method in _READING:
        return False
    g.audit_details = {**g.get("audit_details", {}), **details}
    return True


def note_grant(grant: Grant) -> None:
    """Adds a grant for a call of a stage to the entry of the request that it is for, and counts those that are alike.

    Workers' grants are told by their mark, which the entry of the job's output names.
    """
    kind = {"purpose": grant.purpose, "likenesses": list(grant.likenesses), "mark": grant.mark}
    if not note():
        return
    from flask import g

    grants: list[dict[str, Any]] = g.audit_details.setdefault("grants", [])
    for issued in grants:
        if all(issued[name] == value for name, value in kind.items()):
            issued["calls"] += 1
            return
    grants.append({**kind, "calls": 1})


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
    append_entry(database, Entry(tenant, actor, action, object_id, request_id, status, details or None))


def entry_of_end(job: Job, error: LikenessError | None, sha256: str | None) -> Entry | None:
    """That a job's output is released, or that it was refused: for the transaction that ends the job, as its last.

    What failed for other reasons is told by the job's record; the audit is for what was let out and what was not.

    Args:
        sha256: of the file; None for what has no end, such as live frames, and where nothing is released.
    """
    about: dict[str, Any] = {"job": job.id, "consent": job.consent_id, "mark": job.mark}
    if sha256 is not None:
        action, status = "release_output", 200
        details: dict[str, Any] = {"output": {**about, "sha256": sha256, "media": job.media_id}}
    elif error is not None and _is_refusal(error):
        action, status = "refuse_output", error.row.http_status
        details = {"reason": error.reason, "refused": about}
    else:
        return None
    return Entry(job.tenant, SERVER, action, job.id, job.request_id, status, details)


def _is_refusal(error: LikenessError) -> bool:
    return error.row.http_status == HTTPStatus.FORBIDDEN or error.reason in ("MARK_FAILED", "MANIFEST_FAILED")
