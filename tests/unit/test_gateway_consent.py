"""Consent records: what is live, for what, and for whom."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.consent import consent_state, require_live_consent
from services.gateway.db import Consent, Database

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


def make_consent(**fields: Any) -> Consent:
    values = {
        "id": "cons_1",
        "tenant": "local",
        "subject": "voice",
        "who": "Ada",
        "kind": "synthetic",
        "uses": ["speech"],
        "evidence": "made here",
        "attested_by": None,
        "expires_at": None,
        "revoked_at": None,
    }
    return Consent(**(values | fields))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(f"sqlite:///{tmp_path / 'likeness.db'}")
    database.migrate()
    with database.session() as opened:
        yield opened
    database.close()


def reason_of(session: Session, consent_id: str | None = "cons_1", **asked: Any) -> str:
    asked = {"subject": "voice", "use": "speech", **asked}
    tenant = asked.pop("tenant", "local")
    with pytest.raises(LikenessError) as caught:
        require_live_consent(session, tenant, consent_id, field="consent", **asked)
    assert caught.value.field == "consent"
    return caught.value.reason


def test_live_consent_is_returned(session: Session) -> None:
    consent = make_consent(expires_at=datetime.now(UTC) + timedelta(minutes=1))
    session.add(consent)
    session.flush()
    found = require_live_consent(session, "local", "cons_1", subject="voice", use="speech")
    assert (found.id, found.who, found.uses, found.expires_at) == (
        consent.id,
        consent.who,
        consent.uses,
        consent.expires_at,
    )


@pytest.mark.parametrize("consent_id", [None, "", "cons_2"])
def test_without_a_consent_nothing_goes(session: Session, consent_id: str | None) -> None:
    session.add(make_consent())
    session.flush()
    assert reason_of(session, consent_id) == "CONSENT_REQUIRED"


def test_consent_holds_for_its_subject_use_and_tenant_only(session: Session) -> None:
    session.add(make_consent())
    session.flush()
    assert reason_of(session, subject="face") == "CONSENT_REQUIRED"
    assert reason_of(session, use="swap") == "CONSENT_REQUIRED"
    assert reason_of(session, tenant="other") == "CONSENT_REQUIRED"


def test_revoked_and_expired_consents_are_not_live(session: Session) -> None:
    session.add(make_consent(revoked_at=NOW))
    session.add(make_consent(id="cons_2", expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    session.flush()
    assert reason_of(session) == "CONSENT_NOT_LIVE"
    assert reason_of(session, "cons_2") == "CONSENT_NOT_LIVE"


@given(expires_at=st.none() | MOMENTS, revoked_at=st.none() | MOMENTS)
def test_live_means_neither_revoked_nor_past_its_end(expires_at: datetime | None, revoked_at: datetime | None) -> None:
    state = consent_state(make_consent(expires_at=expires_at, revoked_at=revoked_at), NOW)
    assert (state == "live") == (revoked_at is None and (expires_at is None or expires_at > NOW))
    assert (state == "revoked") == (revoked_at is not None)


def test_consent_ends_at_the_very_moment() -> None:
    consent = make_consent(expires_at=NOW)
    assert consent_state(consent, NOW - timedelta(microseconds=1)) == "live"
    assert consent_state(consent, NOW) == "expired"
