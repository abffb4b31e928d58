"""Bodies of the consents' API: what is sent, and what is shown."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal

from apiflask.fields import UploadFile
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from services.gateway.api.fields import (
    FormBody,
    Identifier,
    JsonBody,
    LongText,
    Person,
    PointInTime,
    Purpose,
    from_commas,
    unix_seconds,
)
from services.gateway.consent import State, Use, consent_state
from services.gateway.consents.phrase import Phrase
from services.gateway.consents.policy import Kind
from services.gateway.db import Consent, ConsentChallenge

Language = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")]
Birthday = Annotated[
    date,
    Field(strict=False, description="The person's birthday, YYYY-MM-DD; it is checked and not kept."),
]
MAX_LANGUAGES: Final = 20
_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_LISTED: Final = WithJsonSchema({"type": "string", "maxLength": 1000})
_ATTESTED_NEEDS_A_NAME: dict[str, Any] = {
    "if": {"properties": {"kind": {"const": "attested"}}, "required": ["kind"]},
    "then": {"properties": {"attested_by": {"type": "string"}}, "required": ["attested_by"]},
}
_ADULT: Final = "Whether the person is an adult. No likeness of a minor is made, whatever the consent."
_LANGUAGES: Final = "What may be spoken, BCP 47 tags; any when not given. Regions of a language are not told apart."


class ConsentIn(JsonBody):
    """A consent that somebody vouches for, or that of a persona; spoken and filmed ones come as forms."""

    model_config = ConfigDict(json_schema_extra=_ATTESTED_NEEDS_A_NAME)

    who: Person = Field(description="Whose likeness: the person's name, or that of the synthetic persona.")
    kind: Literal["attested", "synthetic"] = Field(
        description="attested: somebody vouches for the person's consent. synthetic: no real person is behind it."
    )
    uses: list[Use] | None = Field(
        None, min_length=1, max_length=2, description="What it allows; by default the use of this kind of likeness."
    )
    languages: list[Language] = Field([], max_length=MAX_LANGUAGES, description=_LANGUAGES)
    purpose: Purpose | None = None
    evidence: LongText = Field(description="What shows it: the agreement, where it is, or how the persona was made.")
    attested_by: Person | None = Field(None, validate_default=True, description="Who vouches; needed for attested.")
    document: Identifier | None = Field(None, description="The signed form: id of media that are here.")
    adult: bool | None = Field(None, description=_ADULT)
    born_on: Birthday | None = None
    expires_at: PointInTime | None = Field(None, description="Until when; without it until revoked.")

    @field_validator("attested_by")
    @classmethod
    def _need_a_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("kind") == "attested":
            raise ValueError("an attested consent needs the name of who attests it")
        return value


class ConsentForm(FormBody):
    """A consent with a file: the recording or film of a challenge, or a signed document."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["recording", "challenge"]},
                {"required": ["recording", "name"]},
                {"required": ["film", "challenge"]},
                {"required": ["document", "who", "kind", "evidence"]},
            ]
        }
    )

    challenge: Identifier | None = Field(
        None, description="Which task the recording or film does; by default the newest open one for `name`."
    )
    recording: UploadFile | None = Field(
        None, description="Of the phrase, spoken by the person, at most a minute.", json_schema_extra=_FILE
    )
    film: UploadFile | None = Field(
        None, description="Of the person who turns their head as they were asked to.", json_schema_extra=_FILE
    )
    name: Person | None = Field(None, description="As in OpenAI's API: the person, as in the challenge.")
    language: Language | None = Field(None, description="As in OpenAI's API: of the phrase, which is English.")
    document: UploadFile | None = Field(
        None,
        description="A signed form, PDF, PNG or JPEG; with it the fields of the JSON body.",
        json_schema_extra=_FILE,
    )
    who: Person | None = None
    kind: Kind | None = Field(None, description="By what is sent; of a document: attested or synthetic.")
    uses: Annotated[list[Use], BeforeValidator(from_commas), _LISTED] = Field([], description="Separated by commas.")
    languages: Annotated[list[Language], BeforeValidator(from_commas), _LISTED] = Field([], max_length=MAX_LANGUAGES)
    purpose: Purpose | None = None
    evidence: LongText | None = None
    attested_by: Person | None = None
    adult: bool | None = Field(None, description=_ADULT)
    born_on: Birthday | None = None
    expires_at: PointInTime | None = None

    @model_validator(mode="after")
    def _one_file(self) -> ConsentForm:
        if sum(file is not None for file in (self.recording, self.film, self.document)) != 1:
            raise PydanticCustomError("file", "give one of recording, film and document")
        return self

    def as_body(self) -> dict[str, Any]:
        """What the JSON body would say."""
        names = ("who", "kind", "purpose", "evidence", "attested_by", "adult")
        body = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.born_on is not None:
            body["born_on"] = self.born_on.isoformat()
        if self.expires_at is not None:
            body["expires_at"] = self.expires_at.isoformat()
        return body | {"uses": self.uses or None, "languages": self.languages}


class ChallengeIn(JsonBody):
    """What a person is to be asked to agree to."""

    who: Person = Field(description="The person's name, which they will say or which belongs to the film.")
    uses: list[Use] | None = Field(None, min_length=1, max_length=2, description="As of consents.")
    languages: list[Language] = Field([], max_length=MAX_LANGUAGES, description=_LANGUAGES)
    purpose: Purpose | None = None
    adult: bool | None = Field(None, description=f"{_ADULT} A phrase has the person say it.")
    expires_at: PointInTime | None = Field(None, description="Until when the consent shall hold.")


class ChallengeOut(BaseModel):
    """A task, for a few minutes and one proof."""

    id: str
    object: Literal["consent_challenge"]
    created_at: int
    who: str
    uses: list[Use]
    languages: list[str]
    phrase: str | None = Field(description="To be read aloud by the person, and recorded; of voices.")
    turns: list[Literal["left", "right", "up", "down"]] | None = Field(
        description="Of the head, as the person sees it, each with a return to the middle; of faces."
    )
    instructions: str
    expires_at: datetime = Field(description="The proof must arrive before.")


class ConsentOut(BaseModel):
    """A consent as it is kept."""

    id: str
    object: Literal["audio.voice_consent", "face_consent"]
    created_at: int
    who: str
    kind: Kind
    uses: list[Use]
    languages: list[str] = Field(description="None: any.")
    purpose: str | None
    evidence: str
    evidence_media: str | None = Field(description="The recording, film or document, as media.")
    attested_by: str | None
    recorded_by: str = Field(description="Key, token or `local`, as in the audit.")
    adult: bool | None = Field(description="What was stated.")
    measured: dict[str, float] = Field(description="What the check of the recording or film measured.")
    expires_at: datetime | None
    revoked_at: datetime | None
    state: State = Field(description="Only a live consent allows anything.")
    name: str = Field(description="The same as who, for OpenAI's clients.")
    language: str = Field(description="The first of the languages, for OpenAI's clients.")


class ReceiptOut(BaseModel):
    """What the person gets to keep."""

    object: Literal["consent_receipt"] = "consent_receipt"
    consent: str
    receipt: str = Field(description="A signed JSON web token; the keys are at /.well-known/jwks.json.")
    claims: dict[str, Any] = Field(description="What it says.")


class KeySetOut(BaseModel):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, str]]


def show_consent(consent: Consent) -> ConsentOut:
    proof = consent.proof or {}
    measured = {name: value for name, value in proof.items() if type(value) in (int, float)}
    return ConsentOut.model_validate(
        {
            "id": consent.id,
            "object": "audio.voice_consent" if consent.subject == "voice" else "face_consent",
            "created_at": unix_seconds(consent.created_at),
            "who": consent.who,
            "kind": consent.kind,
            "uses": consent.uses,
            "languages": consent.languages,
            "purpose": proof.get("purpose"),
            "evidence": consent.evidence,
            "evidence_media": consent.evidence_media_id,
            "attested_by": consent.attested_by,
            "recorded_by": consent.recorded_by,
            "adult": proof.get("adult"),
            "measured": measured,
            "expires_at": consent.expires_at,
            "revoked_at": consent.revoked_at,
            "state": consent_state(consent),
            "name": consent.who,
            "language": (consent.languages or ["en"])[0],
        }
    )


def show_challenge(challenge: ConsentChallenge) -> ChallengeOut:
    phrase = Phrase.from_json(challenge.who, challenge.task).text if challenge.subject == "voice" else None
    turns = challenge.task.get("turns")
    instructions = (
        "In a quiet place, read the phrase aloud at an even pace, with a short pause between the last words. Record it "
        "in one go."
        if phrase
        else "Film your face from the front. Look into the camera, then turn your head "
        f"{', then '.join(turns or ())}, and back to the middle after each."
    )
    return ChallengeOut.model_validate(
        {
            "id": challenge.id,
            "object": "consent_challenge",
            "created_at": unix_seconds(challenge.created_at),
            "who": challenge.who,
            "uses": challenge.uses,
            "languages": challenge.languages,
            "phrase": phrase,
            "turns": turns,
            "instructions": instructions,
            "expires_at": challenge.expires_at,
        }
    )
