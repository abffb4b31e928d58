"""What a job leaves behind: cleared at once when it is of no use, kept for a while when a retry may need it."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, forget_references
from services.gateway.context import Gateway
from services.gateway.db import Job, Media
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import WHAT_IS_SAID, without_what_is_said
from services.gateway.jobs.results import forget_work
from services.gateway.media import withdraw

_log: Final = logging.getLogger(__name__)


def clear_after(execution: Execution) -> str:
    """After the end of a job: deletes what it made on the way, unless a retry may use it, and once it has succeeded the
    reference pictures that came with it. The job's state.

    A failure to delete is left to the sweeper.
    """

    def read() -> Job | None:
        with execution.gateway.database.session() as session:
            return session.get(Job, execution.job_id)

    job = execution.insist_on_end(read)
    if job is None:
        forget_quietly(execution.gateway, execution.tenant, execution.job_id)
        return "deleted"
    if job.state == "succeeded" or not may_be_used_again(job):
        forget_quietly(execution.gateway, job.tenant, job.id)
    if job.state == "succeeded":
        try:
            execution.insist_on_end(partial(forget_references, execution.gateway, job.tenant, assignments_of(job)))
        except LikenessError as error:
            _log.warning("reference pictures of %s are not deleted: %s", job.id, error)
    return job.state


def assignments_of(job: Job) -> list[Assignment]:
    """Of a swap; of other jobs none."""
    return [Assignment.from_json(item) for item in job.parameters.get("assignments", ())]


def may_be_used_again(job: Job) -> bool:
    """Not once a consent has ended: then nothing that was made of a likeness stays, even if the job may be retried."""
    return (job.error or {}).get("reason") not in ("CONSENT_REQUIRED", "CONSENT_NOT_LIVE")


def forget_quietly(gateway: Gateway, tenant: str, job_id: str) -> None:
    try:
        forget_work(gateway, tenant, job_id)
    except (LikenessError, SQLAlchemyError) as error:
        _log.warning("what %s has left is not deleted yet: %s", job_id, error)


def give_up_retry(gateway: Gateway, job: Job) -> None:
    """Deletes all that was kept for a retry of the job, its upload and reference pictures too; it can be retried no
    more. To be called again, without harm, when it failed in between."""
    forget_work(gateway, job.tenant, job.id)
    forget_references(gateway, job.tenant, assignments_of(job))
    with gateway.database.session() as session:
        record = session.get(Job, job.id)
        if record is None:
            return
        upload = session.get(Media, record.target_media_id) if record.parameters.get("target_uploaded") else None
        record.workflow_id = None
        if upload is not None:
            record.target_media_id = None
            record.parameters = record.parameters | {"target_uploaded": False}
        if any(name in record.parameters for name in WHAT_IS_SAID):
            record.parameters = without_what_is_said(record.parameters)
    if upload is not None:
        withdraw(gateway, upload)
