"""Consent: no likeness is made or used without a record that is live, for that kind of likeness and that use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, Literal, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.languages import primary_language
from services.gateway.consents.policy import POLICY, Policy
from services.gateway.db.models import Consent

Subject = Literal["voice", "face"]
Use = Literal["speech", "swap"]
State = Literal["live", "revoked", "expired"]

USE_OF_SUBJECT: Final[dict[Subject, Use]] = {"voice": "speech", "face": "swap"}

_TABLE: Final = cast(Table, Consent.__table__)
_OF_SUBJECT: Final = select(_TABLE).where(  # made once: building a statement takes as long as running it
    _TABLE.c.tenant == bindparam("wanted_tenant"),
    _TABLE.c.id == bindparam("wanted_id"),
    _TABLE.c.subject == bindparam("wanted_subject"),
)


def consent_state(consent: Consent, now: datetime | None = None) -> State:
    if consent.revoked_at is not None:
        return "revoked"
    if consent.expires_at is not None and consent.expires_at <= (now or datetime.now(UTC)):
        return "expired"
    return "live"


def require_live_consent(
    session: Session,
    tenant: str,
    consent_id: str | None,
    *,
    subject: Subject,
    use: Use,
    language: str | None = None,
    field: str | None = None,
) -> Consent:
    """The consent, when it allows this use of this kind of likeness now, and the installation's policy does so, too.

    Called when a likeness is enrolled and again each time it is used. The session carries the policy, so that nobody
    who asks can forget it. What is returned is a copy: changing it changes no record.

    Args:
        language: BCP 47 tag of what is to be spoken; regions of one language are not told apart.

    Raises:
        LikenessError: CONSENT_REQUIRED when there is none for this; CONSENT_NOT_LIVE when it was revoked, expired, or
            is older than the policy wants; CONSENT_KIND_REFUSED when its kind is not enough.
    """
    if not consent_id:
        raise LikenessError(
            "CONSENT_REQUIRED",
            f"A {subject} needs the consent of the person. Record it with POST {_collection(subject)} and give its id "
            "as 'consent'.",
            field=field,
        )
    wanted = {"wanted_tenant": tenant, "wanted_id": consent_id, "wanted_subject": subject}
    row = session.connection().execute(_OF_SUBJECT, wanted).one_or_none()
    if row is None:
        raise LikenessError("CONSENT_REQUIRED", f"There is no {subject} consent {consent_id!r}.", field=field)
    consent = Consent(**row._mapping)
    if use not in consent.uses:
        raise LikenessError(
            "CONSENT_REQUIRED",
            f"The consent {consent_id!r} is for {', '.join(consent.uses)}, not for {use}.",
            field=field,
        )
    if language is not None and not allows_language(consent, language):
        detail = f"The consent {consent_id!r} is for {', '.join(consent.languages)}, not for {language}."
        raise LikenessError("CONSENT_REQUIRED", detail, field=field)
    state = consent_state(consent)
    if state == "revoked":
        raise LikenessError("CONSENT_NOT_LIVE", f"The consent {consent_id!r} was revoked.", field=field)
    if state == "expired":
        raise LikenessError(
            "CONSENT_NOT_LIVE",
            f"The consent {consent_id!r} expired on {consent.expires_at:%Y-%m-%d %H:%M} UTC.",
            field=field,
        )
    _require_by_policy(policy_of(session), consent, use, field)
    return consent


def allows_language(consent: Consent, language: str) -> bool:
    """Whether speech in that language is within the consent; one that names no languages is for all."""
    return not consent.languages or primary_language(language) in map(primary_language, consent.languages)


def policy_of(session: Session) -> Policy:
    """The policy of the installation whose database this is; the built-in one outside of gateway and workers."""
    policy = session.info.get(POLICY)
    return policy if isinstance(policy, Policy) else Policy()


def _require_by_policy(policy: Policy, consent: Consent, use: Use, field: str | None) -> None:
    policy.require_kind(consent.kind, use, field=field)
    days = policy.max_age_days.get(consent.kind)  # type: ignore[call-overload]
    if days is not None and consent.created_at + timedelta(days=days) <= datetime.now(UTC):
        detail = (
            f"The consent {consent.id!r} is of {consent.created_at:%Y-%m-%d}; the policy of this installation takes "
            f"{consent.kind} consents for {days:g} days. Ask the person again."
        )
        raise LikenessError("CONSENT_NOT_LIVE", detail, field=field)


def _collection(subject: Subject) -> str:
    return "/v1/audio/voice_consents" if subject == "voice" else "/v1/face_consents"
