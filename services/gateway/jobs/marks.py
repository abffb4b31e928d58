"""The number that a job's output carries invisibly: drawn with the job, and never used again."""

from __future__ import annotations

import secrets
from typing import Final, cast

from sqlalchemy import Table, insert, update
from sqlalchemy.orm import Session

from services.gateway.db import Job, Mark
from services.gateway.db.models import utc_now

LARGEST: Final = 2**32 - 1
_INSERT: Final = insert(cast(Table, Mark.__table__))  # the unit of work costs more than the row


def draw_mark(session: Session, job: Job) -> None:
    """Gives a new job its number. The row stays when the job is deleted: the output may be anywhere by then."""
    job.mark = new_mark(session, tenant=job.tenant, job_id=job.id, consent_id=job.consent_id, kind=job.kind)


def new_mark(session: Session, *, tenant: str, job_id: str, consent_id: str, kind: str) -> int:
    """A number from 1 to 2**32 - 1 that no output has, and its row. It tells nothing: only this table does."""
    number = 1 + secrets.randbelow(LARGEST)
    while session.get(Mark, number) is not None:
        number = 1 + secrets.randbelow(LARGEST)
    row = {"number": number, "tenant": tenant, "job_id": job_id, "consent_id": consent_id, "kind": kind}
    session.execute(_INSERT, row | {"created_at": utc_now()})
    return number


def note_release(session: Session, job_id: str, *, sha256: str, media_id: str | None = None) -> None:
    """Remembers which file went out under a job's number."""
    session.execute(update(Mark).where(Mark.job_id == job_id).values(sha256=sha256, media_id=media_id))
