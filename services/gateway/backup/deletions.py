"""Deletions hold in backups, too: what was deleted or revoked since one was taken is so again when it is restored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from services.common.store import ObjectStore
from services.gateway.db import Consent, Database, Face, Job, Media, ProtectedPerson, Voice
from services.gateway.db.models import utc_now
from services.gateway.deletion import delete_objects, forget_face, forget_file, forget_job, forget_voice
from services.gateway.protected.erasure import erase
from services.gateway.tombstones import KINDS, Deleted, entombed

# Consents that were revoked stay as records.
TABLES: Final[dict[Deleted, str]] = {
    "voice": "voices",
    "face": "faces",
    "media": "media",
    "job": "jobs",
    "protected": "protected",
}


def deleted_records(store: ObjectStore) -> Iterator[tuple[str, str]]:
    """Table and id of all that was deleted on request. Raises LikenessError STORE_UNAVAILABLE."""
    for kind, table in TABLES.items():
        for record_id in entombed(store, kind):
            yield table, record_id


def delete_again(database: Database, store: ObjectStore) -> int:
    """Deletes what a restored backup brought back, and revokes its consents; how many records.

    Raises:
        LikenessError: STORE_UNAVAILABLE.
    """
    count = 0
    for kind in KINDS:
        for record_id in list(entombed(store, kind)):
            count += _delete(database, store, kind, record_id)
    return count


def _delete(database: Database, store: ObjectStore, kind: Deleted, record_id: str) -> bool:
    keys: list[str] = []
    jobs: Sequence[Job] = ()
    with database.session() as session:
        if kind == "voice" and (voice := session.get(Voice, record_id)):
            keys, jobs = forget_voice(session, voice)
        elif kind == "face" and (face := session.get(Face, record_id)):
            keys, jobs = forget_face(session, face)
        elif kind == "media" and (media := session.get(Media, record_id)):
            keys = forget_file(session, media.tenant, media.id)
        elif kind == "job" and (job := session.get(Job, record_id)):
            keys, jobs = forget_job(session, job)
        elif kind == "protected" and (entry := session.get(ProtectedPerson, record_id)) and not entry.removed_at:
            keys = erase(session, entry)
        elif kind == "consent" and (consent := session.get(Consent, record_id)) and consent.revoked_at is None:
            consent.revoked_at, consent.template = utc_now(), None
        else:
            return False
    delete_objects(store, keys, jobs)
    return True
