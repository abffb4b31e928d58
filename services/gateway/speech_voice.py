"""Whether a speech that has begun may still be spoken: its voice is there, with the consent it began with, and that
is live."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, cast

from sqlalchemy import Table, bindparam, or_, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consent import require_live_consent
from services.gateway.db import Consent, Job, Voice

_VOICES, _CONSENTS = cast(Table, Voice.__table__), cast(Table, Consent.__table__)
_IS_USABLE: Final = (
    select(_VOICES.c.id)
    .where(
        _VOICES.c.id == bindparam("wanted_voice"),
        _VOICES.c.consent_id == _CONSENTS.c.id,
        _CONSENTS.c.id == bindparam("wanted_consent"),
        _CONSENTS.c.revoked_at.is_(None),
        or_(_CONSENTS.c.expires_at.is_(None), _CONSENTS.c.expires_at > bindparam("now")),
    )
    .with_for_update(read=True, key_share=True, of=_VOICES)  # PostgreSQL: who deletes the voice waits, or is waited for
)


def is_still_usable(session: Session, job: Job) -> bool:
    """Whether nothing has changed since voice and consent were found to be usable. Looks at nothing else."""
    wanted = {"wanted_voice": job.likeness_id, "wanted_consent": job.consent_id, "now": datetime.now(UTC)}
    return session.connection().execute(_IS_USABLE, wanted).first() is not None


def why_unusable(session: Session, job: Job) -> LikenessError | None:
    """NOT_FOUND when the voice was deleted, CONSENT_* when its consent is not live any more; None while all is well."""
    if is_still_usable(session, job):
        return None
    if session.get(Voice, job.likeness_id) is None:
        return LikenessError("NOT_FOUND", "The voice was deleted.", field="voice")
    try:
        require_live_consent(session, job.tenant, job.consent_id, subject="voice", use="speech", field="voice")
    except LikenessError as error:
        return error
    return LikenessError("CONSENT_NOT_LIVE", "The voice has another consent now. Ask again.", field="voice")
