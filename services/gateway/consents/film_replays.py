"""Whether a film was here before: the same file, or the same performance in another file.

Two performances of one task never agree in how fast and how far the head turns; a copy of a film that was encoded anew,
made smaller or trimmed agrees to a fraction of a degree. So the track of poses, which is kept with every proof, tells
a copy. It also tells a film whose picture was changed but whose motion is another's, as when a face is swapped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consents.head_turns import Turn
from services.gateway.db.models import Consent, ProtectedPerson

FloatArray = NDArray[np.float64]

FILM_SHA256: Final = "film_sha256"
TURNS: Final = "turns"
TRACK: Final = "pose_track"
MIN_OVERLAP: Final = 0.7  # of the shorter of two tracks
SAME_DEGREES: Final = 1.5  # root mean square: two tracks of one performance differ by less
FINE: Final = 4  # parts of a sample's time by which two tracks are shifted against each other


def turns_key(turns: Sequence[Turn]) -> str:
    return " ".join(turns)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_new(session: Session, sha256: str, turns: Sequence[Turn], track: FloatArray, *, field: str) -> None:
    """Compares a film with those of all proofs of all tenants, live or not.

    Args:
        track: (n, 2), yaw and pitch of the samples.

    Raises:
        LikenessError: PROOF_REPLAYED.
    """
    for proof in _proofs(session, sha256, turns):
        if proof.get(FILM_SHA256) == sha256:
            raise LikenessError("PROOF_REPLAYED", "This very film was used before. Film a new one.", field=field)
        other = np.asarray(proof.get(TRACK) or [], np.float64).reshape(-1, 2)
        if same_performance(track, other):
            detail = "The head moves as in a film that was used before. Film a new one."
            raise LikenessError("PROOF_REPLAYED", detail, field=field)


def same_performance(a: FloatArray, b: FloatArray) -> bool:
    """Whether two tracks (n, 2) and (m, 2) of degrees, sampled equally often, are of one performance.

    Either may begin later or end earlier than the other. How the camera was held, a constant, does not count.
    """
    short, long = sorted((_finer(a), _finer(b)), key=len)
    least = max(2, int(MIN_OVERLAP * len(short)))
    for shift in range(least - len(short), len(long) - least + 1):
        first, last = max(0, shift), min(len(long), shift + len(short))
        if last - first < least:
            continue
        difference = long[first:last] - short[first - shift : last - shift]
        difference = difference - difference.mean(axis=0)
        if float(np.sqrt((difference**2).sum(axis=1).mean())) < SAME_DEGREES:
            return True
    return False


def _finer(track: FloatArray) -> FloatArray:
    if len(track) < 2:
        return track
    at = np.arange(0, len(track) - 1 + 1e-9, 1.0 / FINE)
    return np.column_stack([np.interp(at, np.arange(len(track)), track[:, axis]) for axis in range(2)])


def _proofs(session: Session, sha256: str, turns: Sequence[Turn]) -> Iterable[Mapping[str, Any]]:
    """What was measured of films with the same turns, or of the same file; the database reads through all proofs."""
    for model in (Consent, ProtectedPerson):
        text = cast(model.proof, String)
        wanted = text.contains(f'"{sha256}"') | text.contains(f'"{turns_key(turns)}"')
        query = select(model.proof).where(model.subject == "face", wanted)
        for proof in session.scalars(query):
            yield proof or {}
