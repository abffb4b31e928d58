"""Deleting a voice, a face, a file or a job, with everything that was made of it.

The order is the same everywhere: that it is deleted is written down where restored backups find it (`tombstones`); one
transaction deletes the records, so that from then on nobody finds the files; then the objects are deleted. Whatever a
crash in between leaves is objects without a record, which `sweeping` removes. The record of a job outlives the voice or
face it used, without its result; it goes when the job itself is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, String, cast, delete, or_, select, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.store import ObjectStore
from services.gateway.context import Gateway
from services.gateway.db import (
    Consent,
    Face,
    Job,
    JobEvent,
    Media,
    RecordingHash,
    Upload,
    Voice,
    WebhookDelivery,
    delete_record,
    find,
    find_named,
)
from services.gateway.jobs.records import UNFINISHED, end_job_in
from services.gateway.media import BESIDE
from services.gateway.tombstones import entomb

_CAME_WITH_REQUESTS: Final = ("swap_target", "swap_reference", "batch_input")
_CHUNK: Final = 400  # ids in one statement
ItemT = TypeVar("ItemT")


def delete_voice(gateway: Gateway, tenant: str, reference: str) -> str:
    """Deletes a voice by id or name, its recording and all that was spoken with it and kept; its id.

    Work that uses it is cancelled. Raises LikenessError NOT_FOUND.
    """
    with gateway.database.session() as session:
        voice = find_named(session, Voice, tenant, reference, what="voice")
        entomb(gateway.store, "voice", voice.id)
        keys, jobs = forget_voice(session, voice)
    delete_objects(gateway.store, keys, jobs)
    return voice.id


def forget_voice(session: Session, voice: Voice) -> tuple[list[str], Sequence[Job]]:
    """Deletes the records; keys of the objects to be deleted once the transaction is committed, and the jobs whose
    work is."""
    delete_record(
        session, voice
    )  # first: a speech that begins holds the record, so that it is seen below or finds none
    jobs = _jobs_with(session, voice.tenant, voice.id)
    _call_off(session, jobs, "The voice was deleted.")
    session.execute(delete(RecordingHash).where(RecordingHash.object_id == voice.id))
    return forget_media(session, [voice.sample_media_id, *_results(session, jobs)]), jobs


def delete_face(gateway: Gateway, tenant: str, reference: str) -> str:
    """Deletes a face by id or name, its pictures and all pictures and films that it was put into; its id.

    Work that uses it is cancelled. Raises LikenessError NOT_FOUND.
    """
    with gateway.database.session() as session:
        face = find_named(session, Face, tenant, reference, what="face")
        entomb(gateway.store, "face", face.id)
        keys, jobs = forget_face(session, face)
    delete_objects(gateway.store, keys, jobs)
    return face.id


def forget_face(session: Session, face: Face) -> tuple[list[str], Sequence[Job]]:
    """As `forget_voice`. The templates of the pictures go with the record."""
    jobs = _jobs_with(session, face.tenant, face.id)
    _call_off(session, jobs, "The face was deleted.")
    delete_record(session, face)
    pictures = [picture["media"] for picture in face.pictures]
    return forget_media(session, [*pictures, *_results(session, jobs)]), jobs


def delete_media(gateway: Gateway, tenant: str, media_id: str) -> None:
    """Deletes a file and what was made of it.

    Raises:
        LikenessError: NOT_FOUND; IN_USE for the recording of a voice, a picture of a face, and what unfinished work
            needs.
    """
    with gateway.database.session() as session:
        find(session, Media, tenant, media_id, what="media")
        _require_unused(session, tenant, media_id)
        entomb(gateway.store, "media", media_id)
        keys = forget_file(session, tenant, media_id)
    delete_objects(gateway.store, keys, [])


def forget_file(session: Session, tenant: str, media_id: str) -> list[str]:
    """Deletes the records of a file and of what was made of it; keys as of `forget_voice`."""
    jobs = list(session.scalars(select(Job).where(Job.tenant == tenant, Job.target_media_id == media_id)))
    return forget_media(session, [media_id, *_results(session, jobs)])


def delete_job(gateway: Gateway, tenant: str, job_id: str, *, by_age: bool = False) -> None:
    """Deletes a job that has ended: its record, events and messages, its result, and what was uploaded for it alone; of
    a batch, also its items.

    Args:
        by_age: nobody asked for it, so that nothing needs to remember it.

    Raises:
        LikenessError: NOT_FOUND; IN_USE while it, or one of its items, is being worked on or waits.
    """
    with gateway.database.session() as session:
        job = find(session, Job, tenant, job_id, what="job")
        jobs = _with_items(session, job)
        if any(item.state in UNFINISHED for item in jobs):
            raise LikenessError("IN_USE", f"{job.id} has not ended; cancel it first.")
        if not by_age:
            entomb(gateway.store, "job", job.id)
        keys, jobs = forget_job(session, job)
    delete_objects(gateway.store, keys, jobs)


def forget_job(session: Session, job: Job) -> tuple[list[str], Sequence[Job]]:
    """As `forget_voice`, of a job and its items, whether they have ended or not."""
    jobs = _with_items(session, job)
    media = [*_results(session, jobs), *_brought_along(session, jobs)]
    for some in _chunks([item.id for item in jobs]):
        session.execute(delete(JobEvent).where(JobEvent.job_id.in_(some)))
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.job_id.in_(some)))
        session.execute(delete(Job).where(Job.id.in_(some)))
    return forget_media(session, media), jobs


def _with_items(session: Session, job: Job) -> Sequence[Job]:
    return [job, *session.scalars(select(Job).where(Job.batch_id == job.id))]


def forget_media(session: Session, ids: Iterable[str]) -> list[str]:
    """Deletes records of files, of what lies beside them, and every mention of them in jobs and uploads; the keys
    of what is to be deleted once the transaction is committed."""
    keys: list[str] = []
    wanted = list(dict.fromkeys(ids))
    for some in _chunks([*wanted, *_lying_beside(session, wanted)]):
        session.execute(update(Job).where(Job.media_id.in_(some)).values(media_id=None))
        session.execute(update(Job).where(Job.target_media_id.in_(some)).values(target_media_id=None))
        session.execute(delete(Upload).where(Upload.media_id.in_(some)))
        keys += session.scalars(select(Media.key).where(Media.id.in_(some)))
        session.execute(delete(Media).where(Media.id.in_(some)))
    return keys


def _lying_beside(session: Session, ids: Sequence[str]) -> list[str]:
    """Ids of the manifests and timestamps of those files that jobs made."""
    found: list[str] = []
    for some in _chunks(ids):
        jobs = select(Media.job_id).where(Media.id.in_(some), Media.purpose.not_in(BESIDE), Media.job_id.is_not(None))
        beside = Media.job_id.in_(jobs), Media.purpose.in_(BESIDE), Media.id.not_in(some)
        found += session.scalars(select(Media.id).where(*beside))
    return [media_id for media_id in dict.fromkeys(found) if media_id not in ids]


def mentions(column: Any, record_id: str) -> ColumnElement[bool]:
    """Whether a JSON column names that id, which is like no other text."""
    return cast(column, String).contains(f'"{record_id}"', autoescape=True)


def _jobs_with(session: Session, tenant: str, likeness_id: str) -> Sequence[Job]:
    """The jobs that use or used a voice or face, alone or among others."""
    uses = or_(Job.likeness_id == likeness_id, mentions(Job.parameters, likeness_id))
    return list(session.scalars(select(Job).where(Job.tenant == tenant, uses)))


def _call_off(session: Session, jobs: Iterable[Job], why: str) -> None:
    """Ends what has not ended. Whoever works on it finds that out, and publishes nothing."""
    for job in jobs:
        if job.state in UNFINISHED:
            end_job_in(session, job.id, "canceled", figures={}, error=LikenessError("CANCELLED", why))


def _results(session: Session, jobs: Sequence[Job]) -> list[str]:
    """Ids of the files that jobs made."""
    found = [job.media_id for job in jobs if job.media_id is not None]
    for some in _chunks([job.id for job in jobs]):
        found += session.scalars(select(Media.id).where(Media.job_id.in_(some)))
    return found


def _brought_along(session: Session, jobs: Sequence[Job]) -> list[str]:
    """Ids of the files that came with the requests of jobs, and that no other job uses."""
    own = {job.id for job in jobs}
    found: set[str] = set()
    for job in jobs:
        if job.target_media_id is not None and job.parameters.get("target_uploaded", True):
            found.add(job.target_media_id)
        for assignment in job.parameters.get("assignments", ()):
            if assignment.get("reference_media"):
                found.add(assignment["reference_media"])
    for some in _chunks(sorted(found)):
        uses = session.execute(select(Job.id, Job.target_media_id).where(Job.target_media_id.in_(some)))
        found -= {media_id for job_id, media_id in uses if job_id not in own}
        others = Media.purpose.not_in(_CAME_WITH_REQUESTS)  # an upload, or the result of another job
        found -= set(session.scalars(select(Media.id).where(Media.id.in_(some), others)))
    return sorted(found)


def _require_unused(session: Session, tenant: str, media_id: str) -> None:
    voice = session.scalar(select(Voice).where(Voice.sample_media_id == media_id))
    if voice is not None:
        raise LikenessError("IN_USE", f"It is the recording of the voice {voice.id}; delete that.")
    face = session.scalar(select(Face).where(Face.tenant == tenant, mentions(Face.pictures, media_id)))
    if face is not None:
        raise LikenessError("IN_USE", f"It is a picture of the face {face.id}; delete that.")
    consent = session.scalar(select(Consent).where(Consent.tenant == tenant, Consent.evidence_media_id == media_id))
    if consent is not None:
        raise LikenessError("IN_USE", f"It is the evidence of the consent {consent.id}.")
    job = session.scalar(unfinished_with(tenant, media_id))
    if job is not None:
        raise LikenessError("IN_USE", f"The job {job} needs it, and has not ended; cancel that first.")


def unfinished_with(tenant: str, media_id: str) -> Any:
    """Selects a job that has not ended and needs the file."""
    needs = or_(Job.target_media_id == media_id, mentions(Job.parameters, media_id))
    return select(Job.id).where(Job.tenant == tenant, Job.state.in_(UNFINISHED), needs).limit(1)


def delete_objects(store: ObjectStore, keys: Iterable[str], jobs: Iterable[Job]) -> None:
    for key in keys:
        store.delete(key)
    for job in jobs:
        store.delete_prefix(f"work/{job.tenant}/{job.id}/")


def _chunks(items: Collection[ItemT]) -> Iterable[list[ItemT]]:
    listed = list(items)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]
