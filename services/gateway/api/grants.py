"""/v1/grants: for callers of a stage's own gRPC service, which works for nobody without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Self, cast

from apiflask import APIBlueprint
from pydantic import BaseModel, Field, model_validator
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.grants import METADATA_KEY, VALID_S, Grant, GrantSigner
from services.gateway.accounts import Scope, current_principal, needs
from services.gateway.api.fields import Identifier, JsonBody, LanguageTag, current_gateway, current_tenant, unix_seconds
from services.gateway.api.reasons import CONSENT, fails_with
from services.gateway.consent import USE_OF_SUBJECT, Subject, require_live_consent
from services.gateway.db import Face, Media, Voice, find, find_named
from services.gateway.idempotency import answer_is_secret
from services.gateway.ids import new_id
from services.gateway.jobs.marks import new_mark
from services.gateway.media import reference_to
from services.gateway.profiles import load_profile, speech_grant
from services.gateway.protected.refusal import require_usable
from services.gateway.synthesis import DEFAULT_LANGUAGE

bp = APIBlueprint("grants", __name__, url_prefix="/v1/grants", tag="Grants")
LONGEST_S: Final = 600
GrantedPurpose = Literal["enroll", "speech", "swap"]


class GrantIn(JsonBody):
    """What a stage is to be called for: exactly one of the four."""

    voice: Identifier | None = Field(None, description="Id or name: speech in that voice.")
    face: Identifier | None = Field(None, description="Id or name: putting that face onto others.")
    voice_consent: Identifier | None = Field(None, description="Id: measuring recordings of who gave it.")
    face_consent: Identifier | None = Field(None, description="Id: finding faces in pictures of who gave it.")
    language: LanguageTag = Field(DEFAULT_LANGUAGE, description="BCP 47 tag of what a voice is to say.")
    valid_seconds: int = Field(VALID_S, ge=1, le=LONGEST_S, description="In which the call must begin.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [self.voice, self.face, self.voice_consent, self.face_consent]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give exactly one of voice, face, voice_consent and face_consent")
        return self


class GrantedFile(BaseModel):
    """A picture that a call may name as a source: the fields of a MediaReference."""

    bucket: str
    key: str
    sha256: str
    size_bytes: int
    content_type: str


class GrantOut(BaseModel):
    """A grant, to be sent as metadata of the call."""

    id: str
    object: Literal["grant"] = "grant"
    created_at: int
    expires_at: int
    purpose: GrantedPurpose
    metadata_key: str = Field(description="Name of the gRPC metadata.")
    grant: str = Field(description="Its value: a JSON web token.")
    mark: int | None = Field(description="The number that everything made under the grant carries.")
    profile: dict[str, Any] | None = Field(description="Of a voice: the fields of a SpeakerProfile.")
    sources: list[GrantedFile] | None = Field(description="Of a face: the pictures that it is taken from.")


@bp.post("")
@bp.input(GrantIn, arg_name="body")
@bp.output(GrantOut, status_code=201)
@bp.doc(
    summary="Grant a call of a stage",
    description="For callers of plain gRPC. What the stage makes carries the grant's mark, as all outputs do.",
    operation_id="create_grant",
)
@fails_with("NOT_FOUND", "INSUFFICIENT_SCOPE", "LIKENESS_REFUSED", *CONSENT)
@needs("voices", "faces", "speech", "swaps")
@answer_is_secret
def create(body: GrantIn) -> GrantOut:
    gateway, tenant = current_gateway(), current_tenant()
    grant_id, profile, sources = new_id("grant"), None, None
    with gateway.database.session() as session:
        if body.voice is not None:
            _require("speech")
            if gateway.policy.spoken_notice is not None:
                detail = "The policy wants a spoken notice, which a stage cannot add: use /v1/audio/speech."
                raise LikenessError("LIKENESS_REFUSED", detail, field="voice")
            voice = find_named(session, Voice, tenant, body.voice, what="voice", field="voice")
            require_usable(gateway, session, voice, language=body.language, field="voice")
            mark = new_mark(session, tenant=tenant, job_id=grant_id, consent_id=voice.consent_id, kind="speech")
            grant, profile = speech_grant(voice, load_profile(voice), mark, body.language), voice.profile
        elif body.face is not None:
            _require("swaps")
            face = find_named(session, Face, tenant, body.face, what="face", field="face")
            require_usable(gateway, session, face, field="face")
            mark = new_mark(session, tenant=tenant, job_id=grant_id, consent_id=face.consent_id, kind="swap")
            label = gateway.policy.visible_label or ""
            files = [find(session, Media, tenant, picture["media"], what="picture") for picture in face.pictures]
            sources = [_file(reference_to(gateway, file)) for file in files]
            grant = Grant("swap", tenant, (face.id,), frozenset(file.sha256 for file in sources), mark, label)
        else:
            grant = _to_enroll(session, tenant, body)
    now = datetime.now(UTC)
    return GrantOut(
        id=grant_id,
        created_at=unix_seconds(now),
        expires_at=unix_seconds(now + timedelta(seconds=body.valid_seconds)),
        purpose=cast(GrantedPurpose, grant.purpose),  # the fourth is for the gateway itself
        metadata_key=METADATA_KEY,
        grant=GrantSigner(gateway.keys.grant).sign(grant, valid_s=body.valid_seconds),
        mark=grant.mark or None,
        profile=profile,
        sources=sources,
    )


def _to_enroll(session: Session, tenant: str, body: GrantIn) -> Grant:
    subject: Subject = "voice" if body.voice_consent is not None else "face"
    _require("voices" if subject == "voice" else "faces")
    field, given = f"{subject}_consent", body.voice_consent or body.face_consent
    use = USE_OF_SUBJECT[subject]
    consent = require_live_consent(session, tenant, given, subject=subject, use=use, field=field)
    return Grant("enroll", tenant, (consent.id,))


def _require(scope: Scope) -> None:
    if scope not in current_principal().scopes:
        raise LikenessError("INSUFFICIENT_SCOPE", f"This grant needs the scope {scope!r}, which the key does not have.")


def _file(reference: Any) -> GrantedFile:
    return GrantedFile(**{name: getattr(reference, name) for name in GrantedFile.model_fields})
