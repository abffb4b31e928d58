"""/v1/audio/voice_consents and /v1/face_consents: somebody's yes, and taking it back."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from services.gateway.accounts import Scope, needs
from services.gateway.api.fields import (
    JsonBody,
    LongText,
    PageOut,
    PageQuery,
    Person,
    PointInTime,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import fails_with
from services.gateway.consent import USE_OF_SUBJECT, State, Subject, Use, consent_state
from services.gateway.db import Consent, find, get_page
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

_ATTESTED_NEEDS_A_NAME: dict[str, Any] = {
    "if": {"properties": {"kind": {"const": "attested"}}, "required": ["kind"]},
    "then": {"properties": {"attested_by": {"type": "string"}}, "required": ["attested_by"]},
}


class ConsentIn(JsonBody):
    """A consent to be recorded."""

    model_config = ConfigDict(json_schema_extra=_ATTESTED_NEEDS_A_NAME)

    who: Person = Field(description="Whose likeness: the person's name, or that of the synthetic persona.")
    kind: Literal["attested", "synthetic"] = Field(
        description="attested: somebody vouches for the person's consent. synthetic: no real person is behind it."
    )
    uses: list[Use] | None = Field(
        None, min_length=1, max_length=2, description="What it allows; by default the use of this kind of likeness."
    )
    evidence: LongText = Field(description="What shows it: the agreement, where it is, or how the persona was made.")
    attested_by: Person | None = Field(None, validate_default=True, description="Who vouches; needed for attested.")
    expires_at: PointInTime | None = Field(None, description="Until when; without it until revoked.")

    @field_validator("attested_by")
    @classmethod
    def _need_a_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("kind") == "attested":
            raise ValueError("an attested consent needs the name of who attests it")
        return value


class ConsentOut(BaseModel):
    """A consent as it is kept."""

    id: str
    object: Literal["audio.voice_consent", "face_consent"]
    created_at: int
    who: str
    kind: Literal["attested", "synthetic"]
    uses: list[Use]
    evidence: str
    attested_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    state: State = Field(description="Only a live consent allows anything.")


def show_consent(consent: Consent) -> ConsentOut:
    return ConsentOut.model_validate(
        {
            "id": consent.id,
            "object": "audio.voice_consent" if consent.subject == "voice" else "face_consent",
            "created_at": unix_seconds(consent.created_at),
            "who": consent.who,
            "kind": consent.kind,
            "uses": consent.uses,
            "evidence": consent.evidence,
            "attested_by": consent.attested_by,
            "expires_at": consent.expires_at,
            "revoked_at": consent.revoked_at,
            "state": consent_state(consent),
        }
    )


def _make_blueprint(subject: Subject, path: str, tag: str) -> APIBlueprint:
    """The four endpoints of one kind of consent."""
    bp = APIBlueprint(f"{subject}_consents", __name__, url_prefix=path, tag=tag)
    of_subject = Consent.subject == subject
    what = f"{subject} consent"
    scope: Scope = "voices" if subject == "voice" else "faces"

    @bp.post("")
    @bp.input(ConsentIn, arg_name="body")
    @bp.output(ConsentOut, status_code=201)
    @bp.doc(summary=f"Record a {what}", operation_id=f"create_{subject}_consent")
    @needs(scope)
    def create(body: ConsentIn) -> ConsentOut:
        consent = Consent(
            id=new_id("cons"),
            tenant=current_tenant(),
            created_at=utc_now(),
            subject=subject,
            who=body.who,
            kind=body.kind,
            uses=sorted(set(body.uses)) if body.uses else [USE_OF_SUBJECT[subject]],
            evidence=body.evidence,
            attested_by=body.attested_by,
            expires_at=body.expires_at,
        )
        with current_gateway().database.session() as session:
            session.add(consent)
        return show_consent(consent)

    @bp.get("")
    @bp.input(PageQuery, location="query", arg_name="page")
    @bp.output(PageOut[ConsentOut])
    @bp.doc(summary=f"List {what}s", operation_id=f"list_{subject}_consents")
    @needs("read", scope)
    def list_page(page: PageQuery) -> dict[str, Any]:
        with current_gateway().database.session() as session:
            found = get_page(session, Consent, current_tenant(), of_subject, after=page.after, limit=page.limit)
            return page_out(found, show_consent)

    @bp.get("/<consent_id>")
    @bp.output(ConsentOut)
    @bp.doc(summary=f"Get a {what}", operation_id=f"get_{subject}_consent")
    @fails_with("NOT_FOUND")
    @needs("read", scope)
    def get_one(consent_id: str) -> ConsentOut:
        with current_gateway().database.session() as session:
            return show_consent(find(session, Consent, current_tenant(), consent_id, of_subject, what=what))

    @bp.post("/<consent_id>/revoke")
    @bp.output(ConsentOut)
    @bp.doc(
        summary=f"Revoke a {what}",
        description="From now on every use of the likeness is refused. Cannot be undone; repeating it changes nothing.",
        operation_id=f"revoke_{subject}_consent",
    )
    @fails_with("NOT_FOUND")
    @needs(scope)
    def revoke(consent_id: str) -> ConsentOut:
        with current_gateway().database.session() as session:
            consent = find(session, Consent, current_tenant(), consent_id, of_subject, what=what)
            if consent.revoked_at is None:
                consent.revoked_at = utc_now()
            return show_consent(consent)

    return bp


voice_consents = _make_blueprint("voice", "/v1/audio/voice_consents", "Voice consents")
face_consents = _make_blueprint("face", "/v1/face_consents", "Face consents")
