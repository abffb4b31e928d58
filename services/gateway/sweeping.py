"""What is removed by itself: files of a certain age, uploads that nobody completed, objects without a record.

Workers call these again and again, also several at the same time; each does a bounded number of things at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.store import ListedObject
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, Tenant, Upload
from services.gateway.db.models import utc_now
from services.gateway.deletion import delete_job, forget_media, unfinished_with
from services.gateway.jobs.records import UNFINISHED as NOT_ENDED
from services.gateway.large_uploads import UNFINISHED, abort_upload
from services.gateway.media import BESIDE, KEPT_WITH_LIKENESS

AT_ONCE: Final = 200
# An object is written before its record: one that has none may be about to get it.
ORPHAN_AGE: Final = timedelta(hours=1)
STRAY_WORK_AGE: Final = timedelta(days=1)  # of working copies outside of jobs, each of which lives for one request
ENDED_UPLOAD_AGE: Final = timedelta(days=1)  # the record of an upload that has ended is kept for so long
_log: Final = logging.getLogger(__name__)


def sweep_media(gateway: Gateway, now: datetime | None = None) -> int:
    """Deletes files whose time has come, or that are older than their tenant keeps files; how many.

    Recordings of voices and pictures of faces stay with these, and what unfinished work needs stays until that has
    ended. Deleting the target of a swap by age leaves the result its own time.
    """
    now = now or utc_now()
    count = 0
    with gateway.database.session() as session:
        tenants = session.execute(select(Tenant.id, Tenant.limits)).all()
    for tenant, limits in tenants:
        ttl_days = limits.get("media_ttl_days", gateway.settings.media_ttl_days)
        is_due: ColumnElement[bool] = Media.expires_at <= now
        if ttl_days:
            by_age = Media.created_at <= now - timedelta(days=float(ttl_days))
            is_due = or_(is_due, by_age & Media.purpose.not_in(KEPT_WITH_LIKENESS))
        due = select(Media.id).where(Media.tenant == tenant, is_due).order_by(Media.id).limit(AT_ONCE)
        with gateway.database.session() as session:
            found = [media_id for media_id in session.scalars(due) if _is_free(session, tenant, media_id)]
            keys = forget_media(session, found)
        for key in keys:
            gateway.store.delete(key)
        count += len(keys)
    return count


def sweep_jobs(gateway: Gateway, now: datetime | None = None) -> int:
    """Deletes jobs that ended long enough ago, with their results; how many. Items of batches go with their batch."""
    now = now or utc_now()
    is_due: ColumnElement[bool] = Job.expires_at <= now
    if gateway.settings.job_ttl_days:
        is_due = or_(is_due, Job.finished_at <= now - timedelta(days=gateway.settings.job_ttl_days))
    due = select(Job.tenant, Job.id).where(Job.batch_id.is_(None), Job.state.not_in(NOT_ENDED), is_due).limit(AT_ONCE)
    with gateway.database.session() as session:
        jobs = session.execute(due).all()
    for tenant, job_id in jobs:
        try:
            delete_job(gateway, tenant, job_id, by_age=True)
        except LikenessError as error:
            if error.reason not in ("NOT_FOUND", "IN_USE"):  # deleted by somebody else, or retried
                raise
    return len(jobs)


def sweep_uploads(gateway: Gateway, now: datetime | None = None) -> int:
    """Aborts uploads that were not completed in time, and forgets those that ended long ago; how many were aborted."""
    now = now or utc_now()
    with gateway.database.session() as session:
        late = select(Upload).where(Upload.state.in_(UNFINISHED), Upload.expires_at <= now).limit(AT_ONCE)
        uploads = list(session.scalars(late))
        ended = Upload.state.not_in(UNFINISHED), Upload.expires_at <= now - ENDED_UPLOAD_AGE
        session.execute(delete(Upload).where(*ended))
    for upload in uploads:
        abort_upload(gateway, upload.tenant, upload.id)
    lost_before = now - timedelta(seconds=gateway.settings.upload_ttl_s) - ENDED_UPLOAD_AGE
    gateway.store.parts.abort_older(lost_before)
    return len(uploads)


def sweep_orphans(gateway: Gateway, now: datetime | None = None) -> int:
    """Deletes objects that no record names: what a crash has left between the two; how many.

    Lists the whole store, so that it is for once an hour or less. What belongs to jobs that may go on is left alone.
    """
    now = now or utc_now()
    count = 0
    for prefix, age, find_orphans in (
        ("media/", ORPHAN_AGE, _media_orphans),
        ("uploads/", ORPHAN_AGE, _upload_orphans),
        ("work/", STRAY_WORK_AGE, _stray_work),
    ):
        old = (item for item in gateway.store.keys(prefix) if item.modified_at <= now - age)
        for some in _groups(old):
            with gateway.database.session() as session:
                orphans = find_orphans(session, [item.key for item in some])
            for key in orphans:
                _log.warning("deleting %s, which no record names", key)
                gateway.store.delete(key)
            count += len(orphans)
    return count + _sweep_unclaimed(gateway, now - ORPHAN_AGE)


def _sweep_unclaimed(gateway: Gateway, before: datetime) -> int:
    """Deletes results that their job does not have: it was called off when they were there already."""
    lies_beside = Media.purpose.in_(BESIDE) & (Job.state == "succeeded")  # of what need not be kept itself
    claims = Job.state.in_(NOT_ENDED) | (Job.media_id == Media.id) | lies_beside
    claimed = select(Job.id).where(Job.id == Media.job_id, claims).exists()
    unclaimed = select(Media.id).where(
        Media.purpose.in_(("swap", "speech", *BESIDE)),
        Media.job_id.is_not(None),
        Media.created_at <= before,
        ~claimed,
    )
    with gateway.database.session() as session:
        keys = forget_media(session, session.scalars(unclaimed.limit(AT_ONCE)).all())
    for key in keys:
        gateway.store.delete(key)
    return len(keys)


def _is_free(session: Session, tenant: str, media_id: str) -> bool:
    return session.scalar(unfinished_with(tenant, media_id)) is None


def _media_orphans(session: Session, keys: Sequence[str]) -> list[str]:
    named = set(session.scalars(select(Media.key).where(Media.key.in_(keys))))
    # A result has the id of its job. It gets its record when the job succeeds, or goes when that cannot be retried.
    owners = {key: f"job_{_stem(key).removeprefix('media_')}" for key in keys if key not in named}
    pending = select(Job.id).where(Job.id.in_(set(owners.values())), Job.state != "succeeded")
    unfinished = set(session.scalars(pending.where(or_(Job.workflow_id.is_not(None), Job.batch_id.is_not(None)))))
    return [key for key, job_id in owners.items() if job_id not in unfinished]


def _upload_orphans(session: Session, keys: Sequence[str]) -> list[str]:
    named = select(Upload.key).where(Upload.key.in_(keys), Upload.state.in_(UNFINISHED))
    return sorted(set(keys) - set(session.scalars(named)))


def _stray_work(session: Session, keys: Sequence[str]) -> list[str]:
    """Working copies of requests. Those of jobs (`work/<tenant>/<job>/...`) are looked after with the jobs."""
    return [key for key in keys if "/job_" not in key]


def _stem(key: str) -> str:
    """`media/local/media_0a1b-9f.png` -> `media_0a1b`."""
    return key.rpartition("/")[2].partition(".")[0].partition("-")[0]


def _groups(items: Iterator[ListedObject]) -> Iterator[list[ListedObject]]:
    while group := list(islice(items, AT_ONCE)):
        yield group
