"""/v1/protected: people who must never be cloned. No template, and nothing that could be taken for one, ever leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import LikenessError
from services.gateway.accounts import Scope, current_principal, needs
from services.gateway.admission import takes_place
from services.gateway.api.consent_forms import ChallengeOut, show_challenge
from services.gateway.api.consents import MAX_DOCUMENT_BYTES, PROOF, document_of
from services.gateway.api.fields import (
    Deleted,
    FormBody,
    Identifier,
    JsonBody,
    PageOut,
    PageQuery,
    Person,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import MEDIA, STAGE, fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.consent import Subject
from services.gateway.db import ProtectedPerson, get_page
from services.gateway.enrolment import MAX_CLIPS
from services.gateway.face_enrolment import MAX_PICTURES
from services.gateway.protected.records import (
    LIVE,
    Attestation,
    LiveProof,
    ProofKind,
    ask_for_proof,
    ask_for_removal,
    find_protected,
    register_attested,
    register_proven,
    remove,
    remove_proven,
)
from services.gateway.uploads import file_of

bp = APIBlueprint("protected", __name__, url_prefix="/v1/protected", tag="Protected people")
_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_FILES: Final[dict[str, Any]] = {"type": "array", "items": _FILE, "minItems": 1}


class ProtectionChallengeIn(JsonBody):
    """Who is to prove themselves, and what for."""

    subject: Literal["voice", "face"] | None = Field(None, description="What is to be protected; needed with who.")
    who: Person | None = Field(None, description="The person's name; only this tenant sees it.")
    removal_of: Identifier | None = Field(None, description="Instead: id of the entry that is to be removed.")

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["subject", "who"]}, {"required": ["removal_of"]}]}
    )


class ProofForm(FormBody):
    """The proof of a challenge (multipart/form-data)."""

    challenge: Identifier = Field(description="Which task the recording or film does.")
    recording: UploadFile | None = Field(None, description="Of the phrase, for a voice.", json_schema_extra=_FILE)
    film: UploadFile | None = Field(None, description="Of the turns, for a face.", json_schema_extra=_FILE)


class ProtectedIn(FormBody):
    """A person to be protected (multipart/form-data): the proof of a challenge, or an administrator's word."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["challenge", "recording"]},
                {"required": ["challenge", "film"]},
                {"required": ["who", "attested_by", "document", "audio_sample"]},
                {"required": ["who", "attested_by", "document", "picture"]},
            ]
        }
    )

    challenge: Identifier | None = Field(None, description="Which task the recording or film does.")
    recording: UploadFile | None = Field(None, description="Of the phrase, for a voice.", json_schema_extra=_FILE)
    film: UploadFile | None = Field(None, description="Of the turns, for a face.", json_schema_extra=_FILE)
    who: Person | None = Field(None, description="The person's name, where an administrator attests.")
    attested_by: Person | None = Field(None, description="Who answers for it that the person wants to be protected.")
    document: UploadFile | None = Field(
        None, description="What the person signed: PDF, PNG or JPEG.", json_schema_extra=_FILE
    )
    audio_sample: list[UploadFile] | None = Field(
        None, description="Recordings of the person.", json_schema_extra={**_FILES, "maxItems": MAX_CLIPS}
    )
    picture: list[UploadFile] | None = Field(
        None, description="Pictures of the person.", json_schema_extra={**_FILES, "maxItems": MAX_PICTURES}
    )


class ProtectedOut(BaseModel):
    """Somebody who may not be cloned by anybody. Only the tenant that registered them sees this."""

    id: str
    object: Literal["protected_person"]
    created_at: int
    subject: Literal["voice", "face"]
    who: str
    kind: ProofKind = Field(description="How it was proven: live, as spoken or filmed, or on an administrator's word.")
    attested_by: str | None


def show_protected(entry: ProtectedPerson) -> ProtectedOut:
    return ProtectedOut.model_validate(
        {
            "id": entry.id,
            "object": "protected_person",
            "created_at": unix_seconds(entry.created_at),
            "subject": entry.subject,
            "who": entry.who,
            "kind": entry.proof["kind"],
            "attested_by": entry.proof.get("attested_by"),
        }
    )


@bp.post("/challenges")
@bp.input(ProtectionChallengeIn, arg_name="body")
@bp.output(ChallengeOut, status_code=201)
@bp.doc(
    summary="Ask a person to prove themselves",
    description="Draws a phrase to be read aloud, or turns of the head to be filmed: to be protected, or not any more.",
    operation_id="create_protection_challenge",
)
@fails_with("NOT_FOUND")
@needs("voices", "faces")
def create_challenge(body: ProtectionChallengeIn) -> ChallengeOut:
    gateway, tenant = current_gateway(), current_tenant()
    if body.removal_of is not None:
        if body.who is not None or body.subject is not None:
            raise LikenessError("INVALID_FIELD", "The entry says who it is about.", field="removal_of")
        _require_scope(find_protected(gateway, tenant, body.removal_of).subject)
        return show_challenge(ask_for_removal(gateway, tenant, body.removal_of))
    if body.who is None or body.subject is None:
        missing = "who" if body.who is None else "subject"
        raise LikenessError("INVALID_FIELD", "Say what is to be protected, and whose.", field=missing)
    _require_scope(body.subject)
    return show_challenge(ask_for_proof(gateway, tenant, body.subject, body.who))


@bp.post("")
@bp.input(ProtectedIn, location="form_and_files", arg_name="body")
@bp.output(ProtectedOut, status_code=201)
@bp.doc(
    summary="Protect a person",
    description="From some seconds on nobody of any tenant can enrol this voice or face, use one that is enrolled, or "
    "name it as a swap's reference. The person proves themselves with the recording or film of a challenge, which is "
    "not kept; or an administrator attests it with a document, and sends recordings or pictures.",
    operation_id="create_protected",
)
@fails_with(
    "NOT_FOUND", "INSUFFICIENT_SCOPE", "FACE_NOT_FOUND", "FACE_MISMATCH", "MODEL_INVALID", *PROOF, *MEDIA, *STAGE
)
@needs("voices", "faces", "admin")
@takes_place
def create_protected(body: ProtectedIn) -> ProtectedOut:
    gateway, tenant = current_gateway(), current_tenant()
    if body.challenge is None:
        return show_protected(register_attested(gateway, tenant, _attestation(body), request_id=current_request_id()))
    _require_scope("voice" if body.film is None else "face")
    with _proof(body.challenge, body.recording, body.film) as given:
        return show_protected(register_proven(gateway, tenant, given, request_id=current_request_id()))


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[ProtectedOut])
@bp.doc(summary="List the people this tenant protects", operation_id="list_protected")
@needs("read", "voices", "faces")
def list_protected(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, ProtectedPerson, current_tenant(), LIVE, after=page.after, limit=page.limit)
        return page_out(found, show_protected)


@bp.get("/<protected_id>")
@bp.output(ProtectedOut)
@bp.doc(summary="Get a protected person", operation_id="get_protected")
@fails_with("NOT_FOUND")
@needs("read", "voices", "faces")
def get_protected(protected_id: str) -> ProtectedOut:
    return show_protected(find_protected(current_gateway(), current_tenant(), protected_id))


@bp.post("/<protected_id>/removal")
@bp.input(ProofForm, location="form_and_files", arg_name="body")
@bp.output(Deleted)
@bp.doc(
    summary="Stop protecting a person, on their own proof",
    description="With the recording or film of a challenge for removal, by the very person. Template and name are "
    "erased.",
    operation_id="remove_protected",
)
@fails_with("NOT_FOUND", "PROOF_OTHER_PERSON", "INSUFFICIENT_SCOPE", *PROOF, *MEDIA, *STAGE)
@needs("voices", "faces")
@takes_place
def remove_with_proof(protected_id: str, body: ProofForm) -> dict[str, Any]:
    _require_scope(find_protected(current_gateway(), current_tenant(), protected_id).subject)
    with _proof(body.challenge, body.recording, body.film) as given:
        remove_proven(current_gateway(), current_tenant(), protected_id, given, request_id=current_request_id())
    return {"id": protected_id, "object": "protected_person.deleted"}


@bp.delete("/<protected_id>")
@bp.output(Deleted)
@bp.doc(
    summary="Stop protecting a person, as an administrator",
    description="Template and name are erased, here and in backups that are restored later.",
    operation_id="delete_protected",
)
@fails_with("NOT_FOUND")
@needs("admin")
def delete_one(protected_id: str) -> dict[str, Any]:
    remove(current_gateway(), current_tenant(), protected_id)
    return {"id": protected_id, "object": "protected_person.deleted"}


@contextmanager
def _proof(challenge: str, recording: Any, film: Any) -> Iterator[LiveProof]:
    """What was sent for a challenge; a film is a file while this lasts. Raises LikenessError INVALID_FIELD."""
    if (recording is None) == (film is None):
        raise LikenessError("INVALID_FIELD", "Give the recording or the film of the challenge.", field="recording")
    if film is None:
        yield LiveProof(challenge, recording=recording.read())
        return
    with file_of(film.stream, current_gateway().settings.spool_dir) as path:
        yield LiveProof(challenge, film=path)


def _attestation(body: ProtectedIn) -> Attestation:
    """Raises LikenessError INSUFFICIENT_SCOPE, INVALID_FIELD, MEDIA_*."""
    if "admin" not in current_principal().scopes:
        detail = "Only who has the scope `admin` may attest it. Others send the proof of a challenge."
        raise LikenessError("INSUFFICIENT_SCOPE", detail)
    for name in ("who", "attested_by", "document"):
        if getattr(body, name) is None:
            raise LikenessError("INVALID_FIELD", f"An attested registration needs {name}.", field=name)
    if bool(body.audio_sample) == bool(body.picture):
        detail = "Send recordings of the voice, or pictures of the face, and register each apart."
        raise LikenessError("INVALID_FIELD", detail, field="audio_sample")
    return Attestation(
        who=body.who or "",
        attested_by=body.attested_by or "",
        document=document_of(body.document.read(MAX_DOCUMENT_BYTES + 1)),  # type: ignore[union-attr]
        clips=[file.read() for file in body.audio_sample or ()],
        pictures=[file.read() for file in body.picture or ()],
    )


def _require_scope(subject: Subject | str) -> None:
    scope: Scope = "voices" if subject == "voice" else "faces"
    if scope not in current_principal().scopes:
        raise LikenessError("INSUFFICIENT_SCOPE", f"This needs the scope `{scope}`, which the key does not have.")
