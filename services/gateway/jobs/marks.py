"""The number that a job's output carries invisibly: drawn with the job, and never used again."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, cast

from sqlalchemy import Table, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.gateway.db import Job, Mark
from services.gateway.db.models import utc_now

LARGEST: Final = 2**32 - 1
_TABLE: Final = cast(Table, Mark.__table__)
_INSERT: Final = insert(_TABLE)  # the unit of work costs more than the row
_RELEASE: Final = update(_TABLE).where(_TABLE.c.job_id == bindparam("released_job"))  # made once: that takes as long


class NumberTakenError(Exception):
    """Another output has the number."""


def draw_marks(session: Session, jobs: Sequence[Job]) -> None:
    """Gives new jobs their numbers, at most a thousand at once.

    The rows stay when the jobs are deleted: the outputs may be anywhere by then.
    """
    for job, number in zip(jobs, _unused(session, len(jobs)), strict=True):
        job.mark = number
    session.execute(_INSERT, [_row(job.mark, job.tenant, job.id, job.consent_id, job.kind) for job in jobs])


def new_mark(session: Session, *, tenant: str, job_id: str, consent_id: str, kind: str) -> int:
    """A number of its own for what is no job."""
    (number,) = _unused(session, 1)
    session.execute(_INSERT, _row(number, tenant, job_id, consent_id, kind))
    return number


def draw_number() -> int:
    """A number that most likely no output has; `claim_number` finds out."""
    return 1 + secrets.randbelow(LARGEST)


def claim_number(session: Session, job: Job) -> None:
    """Gives a new job the number that was drawn for it.

    Raises:
        NumberTakenError: the transaction can only be undone then.
    """
    try:
        session.connection().execute(_INSERT, _row(job.mark, job.tenant, job.id, job.consent_id, job.kind))
    except IntegrityError as error:
        raise NumberTakenError(job.mark) from error


def note_release(session: Session, job_id: str, *, sha256: str, media_id: str | None = None) -> None:
    """Remembers which file went out under a job's number."""
    values = {"released_job": job_id, "sha256": sha256, "media_id": media_id}
    session.connection().execute(_RELEASE, values)


def _unused(session: Session, count: int) -> list[int]:
    """Numbers from 1 to 2**32 - 1 that no output has. They tell nothing: only the table does."""
    numbers: set[int] = set()
    while len(numbers) < count:
        drawn = {draw_number() for _ in range(count - len(numbers))}
        numbers |= drawn - set(session.scalars(select(Mark.number).where(Mark.number.in_(drawn))))
    return list(numbers)


def _row(number: int | None, tenant: str, job_id: str, consent_id: str, kind: str) -> dict[str, object]:
    return {
        "number": number,
        "tenant": tenant,
        "job_id": job_id,
        "consent_id": consent_id,
        "kind": kind,
        "created_at": utc_now(),
    }
