"""A job's result: stored under a name that follows from its content, published in the transaction that ends the job.

The media's id follows from the job's, and the object's key from both id and content: whoever does a step again writes
the same object or another one, but never changes what a record names. Of all who come to the end one commits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.common.models import file_sha256
from services.common.store import StoredObject
from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import end_job_in
from services.gateway.media import Purpose, media_record, suffix_of


def work_prefix(tenant: str, job_id: str) -> str:
    """Where a job's intermediate objects lie."""
    return f"work/{tenant}/{job_id}/"


def result_id(job_id: str) -> str:
    return f"media_{job_id.removeprefix('job_')}"


def store_result(
    gateway: Gateway, tenant: str, job_id: str, content: bytes | Path, content_type: str
) -> dict[str, Any]:
    """Stores a finished file and returns what `publish_result` needs, as JSON."""
    sha256 = file_sha256(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()
    key = f"{_result_prefix(tenant, job_id)}-{sha256[:16]}.{suffix_of(content_type)}"
    return asdict(gateway.store.put_once(key, content, content_type))


def publish_result(
    execution: Execution,
    stored: Mapping[str, Any],
    *,
    purpose: Purpose,
    figures: dict[str, Any],
    **values: Any,
) -> bool:
    """Makes the stored file the job's result: its record and the job's success are one transaction.

    Consents are looked at a last time. False when the job has ended otherwise; then the file is deleted.
    """
    execution.check()
    job_id, gateway = execution.job_id, execution.gateway
    found = StoredObject(**stored)
    media = media_record(
        found,
        result_id(job_id),
        tenant=execution.tenant,
        content_type=found.content_type,
        purpose=purpose,
        job_id=job_id,
    )
    with gateway.database.session() as session:
        ended = end_job_in(
            session,
            job_id,
            "succeeded",
            figures=figures,
            workflow_id=execution.workflow_id,
            media_id=media.id,
            sha256=media.sha256,
            **values,
        )
        if ended:
            session.add(media)
    if ended:
        kept: str | None = found.key  # it is committed, whatever a reader may still see
    else:
        with gateway.database.session() as session:
            published = session.get(Media, media.id)
        kept = None if published is None else published.key
    for other in gateway.store.keys(_result_prefix(execution.tenant, job_id)):
        if other.key != kept:
            gateway.store.delete(other.key)
    return kept is not None


def forget_work(gateway: Gateway, tenant: str, job_id: str) -> None:
    """Deletes a job's intermediate objects, and results that were not published."""
    with gateway.database.session() as session:
        published = session.get(Media, result_id(job_id))
    gateway.store.delete_prefix(work_prefix(tenant, job_id))
    for stored in gateway.store.keys(_result_prefix(tenant, job_id)):
        if published is None or stored.key != published.key:
            gateway.store.delete(stored.key)


def _result_prefix(tenant: str, job_id: str) -> str:
    return f"media/{tenant}/{result_id(job_id)}"
