"""Tasks that a person is set before they consent: drawn by the server, for a few minutes, for one proof.

A challenge holds what the consent will say (who, which uses and languages, until when), so that the proof belongs to
these terms and to no others. It is used up by the first proof that is judged, whatever the judgement: one who may try
again on the same task could search for a recording that passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consent import Subject
from services.gateway.consents.head_turns import draw_turns
from services.gateway.consents.phrase import Phrase, Statement
from services.gateway.context import Gateway
from services.gateway.db import ConsentChallenge, find
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

WHAT: Final = "challenge"


@dataclass(frozen=True)
class Terms:
    """What somebody is asked to say yes to; no languages: any."""

    who: str
    uses: Sequence[str] = ()
    languages: Sequence[str] = ()
    expires_at: datetime | None = None
    purpose: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def issue_challenge(
    gateway: Gateway, tenant: str, subject: Subject, terms: Terms, *, statement: Statement = "consent"
) -> ConsentChallenge:
    """Sets a task: of a voice a phrase to say, of a face turns of the head to make."""
    if subject == "voice":
        task = Phrase.draw(terms.who, statement).to_json()
    else:
        task = {"statement": statement, "turns": list(draw_turns())}
    expires_at = None if terms.expires_at is None else terms.expires_at.isoformat()
    now = utc_now()
    challenge = ConsentChallenge(
        id=new_id("chal"),
        tenant=tenant,
        created_at=now,
        subject=subject,
        who=terms.who,
        uses=list(terms.uses),
        languages=list(terms.languages),
        task={**task, "expires_at": expires_at, "purpose": terms.purpose, **terms.details},
        expires_at=now + timedelta(seconds=gateway.settings.challenge_ttl_s),
    )
    with gateway.database.session() as session:
        session.add(challenge)
    return challenge


def open_challenge(
    gateway: Gateway, tenant: str, challenge_id: str, subject: Subject, statement: Statement, *, proof_field: str
) -> ConsentChallenge:
    """The challenge, while a proof of it may still be given. Looked at before anything of the proof is read.

    Raises:
        LikenessError: NOT_FOUND, CHALLENGE_USED, CHALLENGE_EXPIRED, naming the field `challenge`.
    """
    of_subject = ConsentChallenge.subject == subject
    with gateway.database.session() as session:
        challenge = find(
            session, ConsentChallenge, tenant, challenge_id, of_subject, what=f"{subject} challenge", field=WHAT
        )
    if challenge.task["statement"] != statement:
        detail = f"The challenge {challenge_id!r} is for {challenge.task['statement']}, not for {statement}."
        raise LikenessError("INVALID_FIELD", detail, field=WHAT)
    if challenge.used_at is not None:
        raise _used(challenge_id, proof_field)
    if challenge.expires_at <= utc_now():
        detail = f"The challenge {challenge_id!r} expired at {challenge.expires_at:%H:%M:%S} UTC. Ask for a new one."
        raise LikenessError("CHALLENGE_EXPIRED", detail, field=WHAT)
    return challenge


def open_challenge_of(gateway: Gateway, tenant: str, who: str, subject: Subject) -> ConsentChallenge | None:
    """The newest open challenge for that person, for clients that cannot name it."""
    newest = (
        select(ConsentChallenge)
        .where(
            ConsentChallenge.tenant == tenant,
            ConsentChallenge.subject == subject,
            ConsentChallenge.who == who,
            ConsentChallenge.used_at.is_(None),
            ConsentChallenge.expires_at > utc_now(),
        )
        .order_by(ConsentChallenge.id.desc())
    )
    with gateway.database.session() as session:
        found = session.scalars(newest.limit(20))
        return next((challenge for challenge in found if challenge.task["statement"] == "consent"), None)


def use_challenge(session: Session, challenge: ConsentChallenge, *, proof_field: str) -> None:
    """Uses the challenge up in this transaction; of two that try, one succeeds.

    Raises:
        LikenessError: CHALLENGE_USED.
    """
    unused = update(ConsentChallenge).where(ConsentChallenge.id == challenge.id, ConsentChallenge.used_at.is_(None))
    result = session.execute(unused.values(used_at=utc_now()).execution_options(synchronize_session=False))
    if getattr(result, "rowcount", 0) != 1:
        raise _used(challenge.id, proof_field)


def _used(challenge_id: str, proof_field: str) -> LikenessError:
    detail = f"The challenge {challenge_id!r} was used before; each is for one {proof_field}. Ask for a new one."
    return LikenessError("CHALLENGE_USED", detail, field=WHAT)
