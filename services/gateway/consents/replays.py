"""Recordings that were here before: kept as hashes of consents and of voices' samples, searched across all tenants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consents.fingerprint import Fingerprint, agreement, is_same
from services.gateway.db import RecordingHash

_AT_ONCE: Final = 500  # values in one statement


def remember(session: Session, fingerprint: Fingerprint, object_id: str) -> None:
    """Keeps the hashes under the id of what the recording became."""
    rows = [
        {"object_id": object_id, "position": position, "hash": value} for value, position in sorted(fingerprint.rows())
    ]
    for start in range(0, len(rows), _AT_ONCE):
        session.execute(insert(RecordingHash), rows[start : start + _AT_ONCE])


def find_same(session: Session, fingerprint: Fingerprint) -> str | None:
    """Id of what a recording with these hashes became before, if it was here."""
    wanted = sorted(set(fingerprint.hashes.tolist()))
    found: dict[str, list[tuple[int, int]]] = {}
    for some in _chunks(wanted):
        query = select(RecordingHash.object_id, RecordingHash.hash, RecordingHash.position)
        for object_id, value, position in session.execute(query.where(RecordingHash.hash.in_(some))):
            found.setdefault(object_id, []).append((value, position))
    for object_id, rows in found.items():
        agreeing, _ = agreement(fingerprint, rows)
        if agreeing < 1:
            continue
        count = select(func.count()).select_from(RecordingHash).where(RecordingHash.object_id == object_id)
        total = session.scalar(count) if is_same(agreeing, 1.0) else 0
        if total and is_same(agreeing, agreeing / min(total, len(fingerprint.hashes))):
            return object_id
    return None


def require_new_recording(session: Session, fingerprint: Fingerprint, *, field: str) -> None:
    """Raises LikenessError PROOF_REPLAYED when the recording, or a part of it, was here before."""
    if find_same(session, fingerprint) is not None:
        detail = (
            "This recording, or a part of it, was sent before, for a consent or a voice. A consent is spoken anew: "
            "read the phrase aloud and record it."
        )
        raise LikenessError("PROOF_REPLAYED", detail, field=field)


def _chunks(values: list[int]) -> Iterable[list[int]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
