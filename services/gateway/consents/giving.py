"""Recording a consent, whichever way it was given: policy first, then the proof, then record and receipt at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.grants import Grant
from services.gateway.accounts import Principal
from services.gateway.consent import USE_OF_SUBJECT, Subject
from services.gateway.consents.challenges import Terms, open_challenge, use_challenge
from services.gateway.consents.filmed import verify_filmed
from services.gateway.consents.phrase import Phrase
from services.gateway.consents.policy import Kind, Policy
from services.gateway.consents.proof import Proof
from services.gateway.consents.receipts import sign_receipt
from services.gateway.consents.replays import remember
from services.gateway.consents.spoken import SpokenProof, verify_spoken
from services.gateway.consents.templates import context_of, seal
from services.gateway.content_kinds import sniff
from services.gateway.context import Gateway
from services.gateway.db import Consent, ConsentChallenge, Media
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.media import publish, publish_file, withdraw
from services.gateway.stages import Call
from services.gateway.uploads import SNIFFED_BYTES

# After these the task is used up; after others, such as a stage that is away, the same proof may be sent again.
JUDGED: Final = frozenset(
    ("PROOF_TASK_FAILED", "PROOF_REPLAYED", "PROOF_SPLICED", "PROOF_SYNTHETIC", "PROOF_NOT_LIVE", "PROOF_UNUSABLE")
)


@dataclass(frozen=True)
class Giver:
    """On whose behalf a consent is recorded: the principal, the request, and the address in receipts."""

    principal: Principal
    request_id: str
    base_url: str


@dataclass(frozen=True)
class Statements:
    """What is said of the person: whether an adult, or when born (which is not kept)."""

    adult: bool | None = None
    born_on: date | None = None


@dataclass(frozen=True)
class Vouched:
    """A consent without a proof of its own: somebody vouches for it, or there is no real person.

    `document` is the signed form: media that are here, or a file (bytes, content type) that is kept with the consent.
    """

    kind: Kind
    evidence: str
    attested_by: str | None = None
    document: Media | tuple[bytes, str] | None = None


def check_terms(policy: Policy, subject: Subject, kind: Kind, terms: Terms, said: Statements) -> Terms:
    """The terms with their uses, when the policy allows such a consent at all.

    Raises:
        LikenessError: LIKENESS_REFUSED, CONSENT_KIND_REFUSED, INVALID_FIELD.
    """
    policy.require_purpose(terms.purpose)
    if terms.purpose is None and policy.purpose_required:
        raise LikenessError("INVALID_FIELD", "The policy asks what the likeness is for.", field="purpose")
    _require_adult(policy, said, spoken=kind == "spoken")
    uses = tuple(sorted(set(terms.uses))) or (USE_OF_SUBJECT[subject],)
    for use in uses:
        policy.require_kind(kind, use, field="kind")
    return replace(terms, uses=uses)


def record_vouched(
    gateway: Gateway, subject: Subject, terms: Terms, said: Statements, given: Vouched, by: Giver
) -> Consent:
    """Keeps an attested or synthetic consent.

    Raises:
        LikenessError: as `check_terms`; CONSENT_DOCUMENT_REQUIRED; INSUFFICIENT_SCOPE.
    """
    policy = gateway.policy
    terms = check_terms(policy, subject, given.kind, terms, said)
    if given.kind == "attested":
        if policy.attested.scope and "attest" not in by.principal.scopes:
            raise LikenessError("INSUFFICIENT_SCOPE", "The policy wants consents to be attested with the scope attest.")
        if policy.attested.document and given.document is None:
            detail = "The policy wants the signed document: upload it with the consent, as `document`."
            raise LikenessError("CONSENT_DOCUMENT_REQUIRED", detail, field="document")
    consent = _consent(subject, given.kind, terms, given.evidence, by)
    consent.attested_by = given.attested_by
    consent.proof = _stated(terms, adult=_is_adult(said))
    if isinstance(given.document, tuple):
        data, content_type = given.document
        return _keep_with(
            gateway,
            consent,
            by,
            lambda: publish(
                gateway, data, tenant=consent.tenant, content_type=content_type, purpose="consent_evidence"
            ),
        )
    media = given.document
    _complete(gateway, consent, media, by)
    with gateway.database.session() as session:
        session.add(consent)
    return consent


def record_spoken(gateway: Gateway, challenge_id: str, recording: bytes, by: Giver) -> Consent:
    """Checks a recording of the phrase that was set, and keeps consent and recording.

    Raises:
        LikenessError: NOT_FOUND, CHALLENGE_*, and as `verify_spoken` and `check_terms`.
    """
    tenant = by.principal.tenant
    challenge = open_challenge(gateway, tenant, challenge_id, "voice", "consent", proof_field="recording")
    phrase = Phrase.from_json(challenge.who, challenge.task)
    audio_type = sniff(recording[:SNIFFED_BYTES]) or "application/octet-stream"
    return _record_proven(
        gateway,
        challenge,
        "spoken",
        phrase.text,
        by,
        verify=lambda call: verify_spoken(gateway, recording, phrase, call),
        keep=lambda: publish(gateway, recording, tenant=tenant, content_type=audio_type, purpose="consent_evidence"),
    )


def record_filmed(gateway: Gateway, challenge_id: str, film: Path, content_type: str, by: Giver) -> Consent:
    """Checks a film of the turns that were set, and keeps consent and film.

    Raises:
        LikenessError: NOT_FOUND, CHALLENGE_*, and as `verify_filmed` and `check_terms`.
    """
    tenant = by.principal.tenant
    challenge = open_challenge(gateway, tenant, challenge_id, "face", "consent", proof_field="film")
    turns: Sequence[Any] = challenge.task["turns"]
    return _record_proven(
        gateway,
        challenge,
        "filmed",
        f"A film of {challenge.who}, turning {', '.join(turns)}.",
        by,
        verify=lambda call: verify_filmed(gateway, film, turns, call),
        keep=lambda: publish_file(gateway, film, tenant=tenant, content_type=content_type, purpose="consent_evidence"),
    )


def _record_proven(
    gateway: Gateway,
    challenge: ConsentChallenge,
    kind: Kind,
    evidence: str,
    by: Giver,
    *,
    verify: Callable[[Call], Proof],
    keep: Callable[[], Media],
) -> Consent:
    subject: Subject = "voice" if kind == "spoken" else "face"
    field = "recording" if kind == "spoken" else "film"
    until = challenge.task["expires_at"]
    terms = Terms(
        challenge.who,
        challenge.uses,
        challenge.languages,
        None if until is None else datetime.fromisoformat(until),
        challenge.task["purpose"],
    )
    adult = challenge.task.get("adult")
    terms = check_terms(gateway.policy, subject, kind, terms, Statements(adult=adult))
    consent = _consent(subject, kind, terms, evidence, by)
    grant = Grant("enroll", consent.tenant, (consent.id,))
    call = Call.within(gateway.settings.enrolment_deadline_s, by.request_id, grant)
    try:
        proof = verify(call)
    except LikenessError as error:
        if error.reason in JUDGED:
            with gateway.database.session() as session:
                use_challenge(session, challenge, proof_field=field)
        raise
    stated = _stated(terms, adult=True if kind == "spoken" else adult)
    consent.proof = {**stated, "challenge": challenge.id, **proof.measured}
    consent.template = seal(gateway.keys.templates, proof.template, context_of(consent.id, subject))

    def also(session: Session) -> None:
        use_challenge(session, challenge, proof_field=field)
        if isinstance(proof, SpokenProof):
            remember(session, proof.fingerprint, consent.id)

    return _keep_with(gateway, consent, by, keep, also)


def _keep_with(
    gateway: Gateway,
    consent: Consent,
    by: Giver,
    keep: Callable[[], Media],
    also: Callable[[Session], None] = lambda session: None,
) -> Consent:
    """Keeps a file, and the consent that names it; when that fails, neither."""
    media = keep()
    try:
        _complete(gateway, consent, media, by)
        with gateway.database.session() as session:
            also(session)
            session.add(consent)
    except BaseException:
        withdraw(gateway, media)
        raise
    return consent


def _complete(gateway: Gateway, consent: Consent, media: Media | None, by: Giver) -> None:
    """Names the evidence, and signs."""
    consent.evidence_media_id = None if media is None else media.id
    sha256 = None if media is None else media.sha256
    consent.proof = {**(consent.proof or {}), "evidence_sha256": sha256}
    consent.receipt = sign_receipt(consent, gateway.keys.receipts, base_url=by.base_url, evidence_sha256=sha256)


def _consent(subject: Subject, kind: Kind, terms: Terms, evidence: str, by: Giver) -> Consent:
    return Consent(
        id=new_id("cons"),
        tenant=by.principal.tenant,
        created_at=utc_now(),
        subject=subject,
        who=terms.who,
        kind=kind,
        uses=list(terms.uses),
        languages=list(terms.languages),
        recorded_by=by.principal.actor[:100],
        evidence=evidence,
        expires_at=terms.expires_at,
    )


def _stated(terms: Terms, *, adult: bool | None) -> dict[str, Any]:
    return {"adult": adult, "purpose": terms.purpose}


def _require_adult(policy: Policy, said: Statements, *, spoken: bool) -> None:
    """The phrase says it itself. Raises LikenessError LIKENESS_REFUSED, INVALID_FIELD."""
    if said.adult is False or (said.born_on is not None and _age(said.born_on) < policy.minimum_age):
        detail = f"No likeness of anybody under {policy.minimum_age} is made, whatever the consent."
        raise LikenessError("LIKENESS_REFUSED", detail, field="born_on" if said.born_on else "adult")
    if policy.adult_statement and not spoken and not _is_adult(said):
        detail = "The policy wants it stated that the person is an adult: adult, or born_on."
        raise LikenessError("INVALID_FIELD", detail, field="adult")


def _is_adult(said: Statements) -> bool | None:
    return True if said.born_on is not None else said.adult


def _age(born_on: date) -> int:
    today = datetime.now(UTC).date()
    return today.year - born_on.year - ((today.month, today.day) < (born_on.month, born_on.day))
