"""The templates of all protected people, of all tenants, opened in memory, and whether somebody is one of them.

Each process keeps its own copy: two matrices. It asks the database every `refresh_s` seconds whether somebody was
registered or removed, and reads only the templates that are new. A template that does not open, or a database that does
not answer, is an error of whoever asks: nobody is taken for unprotected because that cannot be found out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consent import Subject
from services.gateway.consents.templates import context_of, unseal
from services.gateway.db import Database, ProtectedPerson

FloatArray = NDArray[np.float32]
SIZES: Final[dict[Subject, int]] = {"voice": 256, "face": 128}
_AT_ONCE: Final = 400  # ids in one statement


@dataclass(frozen=True, eq=False)
class Match:
    """Whom a template is like: the entry, whose it is, and how like: a cosine of voices, a distance of faces."""

    entry_id: str
    tenant: str
    measure: float


@dataclass(frozen=True, eq=False)
class _Known:
    """Templates of one kind: row i of `vectors` (n, size) is that of `entries[i]`, an id and a tenant."""

    entries: tuple[tuple[str, str], ...]
    vectors: FloatArray


@dataclass(frozen=True)
class Thresholds:
    """From which cosine of two speaker embeddings, up to which distance of two face descriptors, it is one person."""

    voice_similarity: float
    face_distance: float


@dataclass(eq=False)
class ProtectedPeople:
    """The registry as one process knows it; safe to use from any number of threads.

    Args:
        key: which the templates are sealed with.
        refresh_s: how old what is known may be.
    """

    database: Database
    key: bytes
    thresholds: Thresholds
    refresh_s: float
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _known: dict[Subject, _Known] = field(init=False)
    _state: tuple[int, int] | None = field(init=False, default=None)  # of the table, when it was read
    _asked_at: float = field(init=False, default=-np.inf)

    def __post_init__(self) -> None:
        self._known = {subject: _Known((), np.zeros((0, size), np.float32)) for subject, size in SIZES.items()}

    def match_voice(self, embedding: FloatArray, session: Session | None = None) -> Match | None:
        """The protected voice most like a speaker embedding (256,), when it is like enough.

        Args:
            session: to ask the database with, where the caller has one open.

        Raises:
            LikenessError: TEMPLATE_UNREADABLE, DATABASE_UNAVAILABLE.
        """
        known = self._current("voice", session)
        if not known.entries:
            return None
        wanted = _whole(embedding, "voice")
        cosines = known.vectors @ (wanted / max(float(np.linalg.norm(wanted)), 1e-9))
        best = int(np.argmax(cosines))
        if not cosines[best] >= self.thresholds.voice_similarity:
            return None
        return Match(*known.entries[best], round(float(cosines[best]), 4))

    def match_face(self, descriptors: Sequence[FloatArray], session: Session | None = None) -> Match | None:
        """The protected face nearest to any of several descriptors (128,), when it is near enough. Raises the same."""
        known = self._current("face", session)
        if not known.entries:
            return None
        best: Match | None = None
        for descriptor in descriptors:
            distances = np.linalg.norm(known.vectors - _whole(descriptor, "face"), axis=1)
            nearest = int(np.argmin(distances))
            measure = round(float(distances[nearest]), 4)
            if distances[nearest] <= self.thresholds.face_distance and (best is None or measure < best.measure):
                best = Match(*known.entries[nearest], measure)
        return best

    def has(self, subject: Subject, session: Session | None = None) -> bool:
        """Whether anybody is protected in this way, so that templates need to be taken at all."""
        return bool(self._current(subject, session).entries)

    def forget(self) -> None:
        """Has the next question asked of the database: this process changed the registry itself."""
        with self._lock:
            self._asked_at = -np.inf

    def _current(self, subject: Subject, session: Session | None) -> _Known:
        with self._lock:
            now = time.monotonic()
            if now - self._asked_at >= self.refresh_s:
                with nullcontext(session) if session is not None else self.database.session() as asked:
                    self._refresh(asked)
                self._asked_at = now
            return self._known[subject]

    def _refresh(self, session: Session) -> None:
        """Reads what is new. Rows are only ever added, and marked as removed: two counts tell every change."""
        counts = select(func.count(), func.count(ProtectedPerson.removed_at)).select_from(ProtectedPerson)
        total, removed = session.execute(counts).one()
        if (total, removed) == self._state:
            return
        live = session.execute(
            select(ProtectedPerson.id, ProtectedPerson.tenant, ProtectedPerson.subject)
            .where(ProtectedPerson.removed_at.is_(None))
            .order_by(ProtectedPerson.id)
        ).all()
        have = {
            entry[0]: vector
            for known in self._known.values()
            for entry, vector in zip(known.entries, known.vectors, strict=True)
        }
        new = [row.id for row in live if row.id not in have]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            columns = select(ProtectedPerson.id, ProtectedPerson.subject, ProtectedPerson.template)
            for row in session.execute(columns.where(ProtectedPerson.id.in_(some))):
                have[row.id] = _opened(self.key, row.id, row.subject, row.template)
        for subject, size in SIZES.items():
            rows = [row for row in live if row.subject == subject]
            vectors = [have[row.id] for row in rows]
            stacked = np.stack(vectors) if vectors else np.zeros((0, size), np.float32)
            self._known[subject] = _Known(tuple((row.id, row.tenant) for row in rows), stacked)
        self._state = (total, removed)


def _opened(key: bytes, entry_id: str, subject: Subject, template: bytes) -> FloatArray:
    vector = _whole(unseal(key, template, context_of(entry_id, subject)), subject)
    return vector / max(float(np.linalg.norm(vector)), 1e-9) if subject == "voice" else vector


def _whole(vector: FloatArray, subject: Subject) -> FloatArray:
    """The vector, which has the size of its kind. Raises LikenessError MODEL_INVALID for another one."""
    found = np.asarray(vector, np.float32)
    if found.shape != (SIZES[subject],) or not np.isfinite(found).all():
        detail = (
            f"A template of a {subject} has {SIZES[subject]} numbers, this one {found.size}; it cannot be compared."
        )
        raise LikenessError("MODEL_INVALID", detail)
    return found
