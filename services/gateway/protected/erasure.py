"""What stays of somebody who is not protected any more: nothing but that it was so."""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from services.gateway.db import ProtectedPerson, RecordingHash
from services.gateway.db.models import utc_now
from services.gateway.deletion import forget_media


def erase(session: Session, entry: ProtectedPerson) -> list[str]:
    """Leaves a record without name, template and measurements; keys of objects that are to be deleted then."""
    document = entry.proof.get("document")
    entry.who, entry.template, entry.proof, entry.removed_at = "", b"", {}, utc_now()
    session.execute(delete(RecordingHash).where(RecordingHash.object_id == entry.id))
    return [] if document is None else forget_media(session, [document])
