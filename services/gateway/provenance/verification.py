"""Was it made here? What a file shows, put together with what is recorded of the outputs of this installation.

Three things lead from a file to an output: the hash of the whole file, a valid manifest of our own, and the mark. Whose
output it is, and with which consent it was made, only those learn who may: its tenant, and operators.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.gateway.context import Gateway
from services.gateway.db import Consent, Mark
from services.gateway.db.models import utc_now
from services.gateway.provenance.examination import Examination
from services.gateway.provenance.examiner import Examiner
from services.gateway.provenance.reading import TrustedCertificates
from services.gateway.provenance.release import find_sidecar, fits_kind

Evidence = Literal["file", "manifest", "mark"]
MAX_LINKS: Final = 10


@dataclass(frozen=True)
class ConsentLink:
    """With whose yes it was made; without a name."""

    id: str
    kind: str | None  # None where the record is gone
    state: Literal["live", "expired", "revoked", "deleted"]


@dataclass(frozen=True)
class Origin:
    """An output that a file comes from.

    Attributes:
        evidence: file: it is that output, byte for byte. manifest: its manifest says so and fits. mark: it carries the
            number.
        unchanged: whether it is that output byte for byte; None where no hash was recorded.
        job, media, consent: for those who may know.
    """

    made_at: datetime
    kind: str
    evidence: tuple[Evidence, ...]
    unchanged: bool | None
    number: int | None = None
    job: str | None = None
    media: str | None = None
    consent: ConsentLink | None = None


@dataclass(frozen=True)
class Verification:
    """The answer, and what it rests on."""

    made_here: bool
    summary: str
    seen: Examination
    origins: tuple[Origin, ...]


def verify_file(
    gateway: Gateway,
    examiner: Examiner,
    trusted: TrustedCertificates,
    path: Path,
    content_type: str,
    *,
    tenant: str,
    sees_all: bool,
    sidecar: bytes | None = None,
) -> Verification:
    """Looks at a file and at the records.

    Args:
        tenant: who asks.
        sees_all: who asks is an operator.
        sidecar: the file's manifest, where it came separately; else one that is kept here is taken.

    Raises:
        LikenessError: QUEUE_FULL; MEDIA_UNREADABLE for a file at which the reader crashes.
    """
    seen = examiner.examine(path, content_type, trusted, gateway.keys.mark, sidecar)
    with gateway.database.session() as session:
        links = _links(session, seen)
    if seen.manifest.state == "absent" and sidecar is None:
        kept = _kept_sidecar(gateway, links, content_type)
        if kept is not None:
            manifest = examiner.examine(path, content_type, trusted, gateway.keys.mark, kept, searches=False).manifest
            seen = replace(seen, manifest=manifest)
    with gateway.database.session() as session:
        links = _links(session, seen)
        origins = tuple(
            _origin(session, mark, evidence, seen, is_entitled=sees_all or mark.tenant == tenant)
            for mark, evidence in links
        )
    made_here = bool(origins or seen.marks or _is_own(seen))
    return Verification(made_here, summarise(seen, origins), seen, origins)


def summarise(seen: Examination, origins: tuple[Origin, ...]) -> str:
    """In words, for people."""
    sentences = [_what_it_is(seen, origins), _of_manifest(seen)]
    if seen.unsearched is not None:
        sentences.append(f"Marks could not be looked for: {seen.unsearched}")
    return " ".join(sentence for sentence in sentences if sentence)


def _what_it_is(seen: Examination, origins: tuple[Origin, ...]) -> str:
    if not origins:
        if seen.marks or _is_own(seen):
            return "It was made here, but there is no record of it any more."
        return (
            "Nothing was found that says it was made here. That proves nothing: marks can be destroyed, manifests "
            "removed, and what others make carries neither."
        )
    if len(origins) > 1:
        return f"{len(origins)} outputs of this installation are in it, or it has been put together from them."
    (origin,) = origins
    made = f"It was made here on {origin.made_at:%Y-%m-%d at %H:%M} UTC"
    if origin.unchanged:
        return f"{made}, and is unchanged since, byte for byte."
    if "manifest" in origin.evidence:
        if origin.unchanged is None:
            return f"{made}, and has not been changed since its manifest was signed."
        return f"{made}. Its manifest fits, but bytes that a manifest does not cover differ from what was released."
    return f"{made}, and has been changed since: cut, edited or coded anew. The mark in it tells where it comes from."


def _of_manifest(seen: Examination) -> str:
    manifest = seen.manifest
    if manifest.state == "absent":
        return "It has no manifest."
    if manifest.state == "broken":
        return "Its manifest is broken: the file was changed after it was signed, or the manifest was."
    by = {
        "own": "by this installation",
        "trusted": f"by {manifest.issuer}, whom this installation trusts",
        "unknown": f"by {manifest.issuer}, whom nobody here vouches for",
    }[manifest.signer or "unknown"]
    told = f"Its manifest is valid, and signed {by}."
    if manifest.development:
        told += " The certificate is for development: it proves nothing to others."
    return told


def _is_own(seen: Examination) -> bool:
    return seen.manifest.state == "valid" and seen.manifest.signer == "own"


def _links(session: Session, seen: Examination) -> list[tuple[Mark, tuple[Evidence, ...]]]:
    """The records that the file leads to, and by what, best first."""
    evidence: dict[int, list[Evidence]] = {}
    for number in session.scalars(select(Mark.number).where(Mark.sha256 == seen.sha256).limit(MAX_LINKS)):
        evidence.setdefault(number, []).append("file")
    told = seen.manifest.provenance.get("mark")
    if isinstance(told, int):
        evidence.setdefault(told, []).append("manifest")
    for number in dict.fromkeys(mark.number for mark in seen.marks):
        evidence.setdefault(number, []).append("mark")
    found: Iterable[Mark] = session.scalars(select(Mark).where(Mark.number.in_(evidence)))
    records = {mark.number: mark for mark in found}
    return [(records[number], tuple(ways)) for number, ways in evidence.items() if number in records]


def _kept_sidecar(gateway: Gateway, links: list[tuple[Mark, tuple[Evidence, ...]]], content_type: str) -> bytes | None:
    """The manifest beside an output of that kind: what was coded anew since never had it."""
    for mark, _ in links:
        with gateway.database.session() as session:
            sidecar = find_sidecar(session, mark.tenant, mark.job_id)
        if sidecar is not None and fits_kind(sidecar, content_type):
            return gateway.store.get(sidecar.key)
    return None


def _origin(
    session: Session, mark: Mark, evidence: tuple[Evidence, ...], seen: Examination, *, is_entitled: bool
) -> Origin:
    origin = Origin(
        made_at=mark.created_at,
        kind=mark.kind,
        evidence=evidence,
        unchanged=None if mark.sha256 is None else mark.sha256 == seen.sha256,
    )
    if not is_entitled:
        return origin
    return replace(
        origin,
        number=mark.number,
        job=mark.job_id,
        media=mark.media_id,
        consent=_consent(session.get(Consent, mark.consent_id), mark.consent_id),
    )


def _consent(consent: Consent | None, consent_id: str) -> ConsentLink:
    if consent is None:
        return ConsentLink(consent_id, None, "deleted")
    if consent.revoked_at is not None:
        return ConsentLink(consent_id, consent.kind, "revoked")
    expired = consent.expires_at is not None and consent.expires_at <= utc_now()
    return ConsentLink(consent_id, consent.kind, "expired" if expired else "live")
