"""Registering people who must never be cloned, and removing them: by their own proof, or on somebody's word for it.

A registration holds a sealed template, a name that only its own tenant sees, and what was measured. The recording or
film of a proof is not kept. What is removed is erased: only a record without name and template stays, which tells other
processes, and restored backups, that it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.grants import Grant
from services.gateway.consent import Subject
from services.gateway.consents.challenges import Terms, issue_challenge, open_challenge, use_challenge
from services.gateway.consents.filmed import verify_filmed
from services.gateway.consents.giving import JUDGED
from services.gateway.consents.phrase import Phrase, Statement
from services.gateway.consents.proof import Proof
from services.gateway.consents.replays import remember
from services.gateway.consents.spoken import SpokenProof, verify_spoken
from services.gateway.consents.templates import context_of, seal, unseal
from services.gateway.context import Gateway
from services.gateway.db import ConsentChallenge, ProtectedPerson, find
from services.gateway.db.models import utc_now
from services.gateway.enrolment import join_clips
from services.gateway.face_enrolment import compare, find_largest
from services.gateway.ids import new_id
from services.gateway.media import publish
from services.gateway.protected.erasure import erase
from services.gateway.stages import Call, fields_called
from services.gateway.tombstones import entomb

FloatArray = NDArray[np.float32]
WHAT: Final = "protected person"
ProofKind = Literal["spoken", "filmed", "attested"]
LIVE: Final = ProtectedPerson.removed_at.is_(None)


@dataclass(frozen=True)
class LiveProof:
    """What a person gave for a challenge: a recording of the phrase (bytes), or a film of the turns (its path)."""

    challenge_id: str
    recording: bytes | None = None
    film: Path | None = None

    @property
    def field(self) -> str:
        return "recording" if self.film is None else "film"

    @property
    def subject(self) -> Subject:
        return "voice" if self.film is None else "face"


@dataclass(frozen=True)
class Attestation:
    """Somebody's word that a person asked to be protected: a signed document, and recordings or pictures of them."""

    who: str
    attested_by: str
    document: tuple[bytes, str]  # and its content type
    clips: Sequence[bytes] = ()
    pictures: Sequence[bytes] = ()


def ask_for_proof(gateway: Gateway, tenant: str, subject: Subject, who: str) -> ConsentChallenge:
    """Sets the task by which somebody registers themselves."""
    return issue_challenge(gateway, tenant, subject, Terms(who), statement="protection")


def ask_for_removal(gateway: Gateway, tenant: str, entry_id: str) -> ConsentChallenge:
    """Sets the task by which somebody who is registered is removed. Raises LikenessError NOT_FOUND."""
    entry = find_protected(gateway, tenant, entry_id)
    subject: Subject = "voice" if entry.subject == "voice" else "face"
    return issue_challenge(gateway, tenant, subject, Terms(entry.who, details={"entry": entry.id}), statement="removal")


def find_protected(gateway: Gateway, tenant: str, entry_id: str) -> ProtectedPerson:
    with gateway.database.session() as session:
        return find(session, ProtectedPerson, tenant, entry_id, LIVE, what=WHAT)


def register_proven(gateway: Gateway, tenant: str, given: LiveProof, *, request_id: str) -> ProtectedPerson:
    """Registers who gave a proof of a challenge for protection.

    Raises:
        LikenessError: NOT_FOUND, CHALLENGE_*, and as `verify_spoken` or `verify_filmed`.
    """
    challenge = _challenge(gateway, tenant, given, "protection")
    proof = _judged(gateway, challenge, given, request_id)
    kind: ProofKind = "spoken" if given.subject == "voice" else "filmed"
    measured = {"kind": kind, "challenge": challenge.id, **proof.measured}
    entry = _entry(gateway, tenant, given.subject, challenge.who, proof.template, measured)
    with gateway.database.session() as session:
        use_challenge(session, challenge, proof_field=given.field)
        if isinstance(proof, SpokenProof):
            remember(session, proof.fingerprint, entry.id)
        session.add(entry)
    gateway.protected.forget()
    return entry


def register_attested(gateway: Gateway, tenant: str, given: Attestation, *, request_id: str) -> ProtectedPerson:
    """Registers somebody for whom an administrator answers, by recordings of their voice or pictures of their face.

    Raises:
        LikenessError: MEDIA_*, SPEECH_TOO_SHORT, FACE_NOT_FOUND, FACE_MISMATCH, and what a stage failed with.
    """
    subject: Subject = "voice" if given.clips else "face"
    entry_id = new_id("prot")
    grant = Grant("enroll", tenant, (entry_id,))
    call = Call.within(gateway.settings.enrolment_deadline_s, request_id, grant)
    template = _voice_of(gateway, given, call) if given.clips else _face_of(gateway, tenant, given, call)
    data, content_type = given.document
    document = publish(gateway, data, tenant=tenant, content_type=content_type, purpose="consent_evidence")
    proof = {"kind": "attested", "attested_by": given.attested_by, "document": document.id, "sha256": document.sha256}
    entry = _entry(gateway, tenant, subject, given.who, template, proof, entry_id)
    with gateway.database.session() as session:
        session.add(entry)
    gateway.protected.forget()
    return entry


def remove_proven(
    gateway: Gateway, tenant: str, entry_id: str, given: LiveProof, *, request_id: str
) -> ProtectedPerson:
    """Removes somebody who proves to be the person that was registered.

    Raises:
        LikenessError: NOT_FOUND, CHALLENGE_*, as `verify_spoken` or `verify_filmed`; PROOF_OTHER_PERSON.
    """
    entry = find_protected(gateway, tenant, entry_id)
    challenge = _challenge(gateway, tenant, given, "removal")
    if challenge.task.get("entry") != entry.id:
        detail = f"The challenge {challenge.id!r} is not about {entry.id!r}. Ask for one that is."
        raise LikenessError("INVALID_FIELD", detail, field="challenge")
    proof = _judged(gateway, challenge, given, request_id)
    with gateway.database.session() as session:
        use_challenge(session, challenge, proof_field=given.field)
    template = unseal(gateway.keys.templates, entry.template, context_of(entry.id, entry.subject))
    if not _is_same(gateway, given.subject, template, proof.template):
        detail = "This is not the person who was registered."
        raise LikenessError("PROOF_OTHER_PERSON", detail, field=given.field)
    return remove(gateway, tenant, entry.id)


def remove(gateway: Gateway, tenant: str, entry_id: str) -> ProtectedPerson:
    """Erases name, template, measurements, and the signed document. Raises LikenessError NOT_FOUND."""
    find_protected(gateway, tenant, entry_id)
    entomb(gateway.store, "protected", entry_id)
    with gateway.database.session() as session:
        entry = find(session, ProtectedPerson, tenant, entry_id, LIVE, what=WHAT)
        keys = erase(session, entry)
    gateway.protected.forget()
    for key in keys:
        gateway.store.delete(key)
    return entry


def _challenge(gateway: Gateway, tenant: str, given: LiveProof, statement: Statement) -> ConsentChallenge:
    return open_challenge(gateway, tenant, given.challenge_id, given.subject, statement, proof_field=given.field)


def _judged(gateway: Gateway, challenge: ConsentChallenge, given: LiveProof, request_id: str) -> Proof:
    """The proof, when it is one; a proof that was judged uses its challenge up."""
    grant = Grant("enroll", challenge.tenant, (challenge.id,))
    call = Call.within(gateway.settings.enrolment_deadline_s, request_id, grant)
    try:
        if given.film is not None:
            return verify_filmed(gateway, given.film, challenge.task["turns"], call)
        return verify_spoken(gateway, given.recording or b"", Phrase.from_json(challenge.who, challenge.task), call)
    except LikenessError as error:
        if error.reason in JUDGED:
            with gateway.database.session() as session:
                use_challenge(session, challenge, proof_field=given.field)
        raise


def _entry(
    gateway: Gateway,
    tenant: str,
    subject: Subject,
    who: str,
    template: FloatArray,
    proof: dict[str, Any],
    entry_id: str | None = None,
) -> ProtectedPerson:
    entry_id = entry_id or new_id("prot")
    return ProtectedPerson(
        id=entry_id,
        tenant=tenant,
        created_at=utc_now(),
        subject=subject,
        who=who,
        template=seal(gateway.keys.templates, template, context_of(entry_id, subject)),
        proof=proof,
    )


def _voice_of(gateway: Gateway, given: Attestation, call: Call) -> FloatArray:
    samples = join_clips(given.clips, field="audio_sample")
    with fields_called({"": "audio_sample", "samples_s16": "audio_sample"}):
        embedded = gateway.stages.embed(samples, call, label="protected", embedding_only=True)
    return np.asarray(embedded.profile.embedding, np.float32)


def _face_of(gateway: Gateway, tenant: str, given: Attestation, call: Call) -> FloatArray:
    found = [
        find_largest(gateway, tenant, call, number, given.pictures) for number in range(1, len(given.pictures) + 1)
    ]
    descriptors = [np.asarray(item.faces[0].descriptor, np.float64) for item in found]
    compare(descriptors)
    return np.asarray(np.mean(descriptors, axis=0), np.float32)


def _is_same(gateway: Gateway, subject: Subject, one: FloatArray, other: FloatArray) -> bool:
    thresholds = gateway.protected.thresholds
    if subject == "face":
        return float(np.linalg.norm(one - other)) <= thresholds.face_distance
    cosine = float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)
    return cosine >= thresholds.voice_similarity
