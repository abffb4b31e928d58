"""/v1/audio/voice_consents and /v1/face_consents: somebody's yes, and taking it back."""

from __future__ import annotations

from typing import Any, Final

from apiflask import APIBlueprint
from apiflask.schema_adapters.pydantic import PydanticAdapter
from flask import request

from services.common.errors import LikenessError
from services.common.languages import primary_language
from services.gateway.accounts import Scope, current_principal, needs, public
from services.gateway.admission import takes_place
from services.gateway.api.consent_forms import (
    ChallengeIn,
    ChallengeOut,
    ConsentForm,
    ConsentIn,
    ConsentOut,
    KeySetOut,
    ReceiptOut,
    show_challenge,
    show_consent,
)
from services.gateway.api.fields import (
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    inline_schema,
    page_out,
)
from services.gateway.api.headers import takes_bodies
from services.gateway.api.reasons import MEDIA, STAGE, fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.api.uploads import base_url
from services.gateway.consent import Subject
from services.gateway.consents.challenges import Terms, issue_challenge, open_challenge_of
from services.gateway.consents.giving import (
    Giver,
    Statements,
    Vouched,
    check_terms,
    record_filmed,
    record_spoken,
    record_vouched,
)
from services.gateway.consents.receipts import public_keys, read_claims, sign_receipt
from services.gateway.db import Consent, Media, find, get_page
from services.gateway.db.models import utc_now
from services.gateway.tombstones import entomb
from services.gateway.uploads import file_of, film_content_type, first_bytes

MAX_DOCUMENT_BYTES: Final = 20 * 1024 * 1024
_DOCUMENTS: Final = {b"%PDF": "application/pdf", b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
PROOF: Final = (
    "PROOF_TASK_FAILED",
    "PROOF_REPLAYED",
    "PROOF_SYNTHETIC",
    "PROOF_SPLICED",
    "PROOF_NOT_LIVE",
    "PROOF_UNUSABLE",
    "CHALLENGE_USED",
    "CHALLENGE_EXPIRED",
    "SPEECH_TOO_SHORT",
    "FACE_TOO_SMALL",
)
_TERMS: Final = ("CONSENT_KIND_REFUSED", "LIKENESS_REFUSED")


def _make_blueprint(subject: Subject, path: str, tag: str) -> APIBlueprint:
    """The endpoints of one kind of consent."""
    bp = APIBlueprint(f"{subject}_consents", __name__, url_prefix=path, tag=tag)
    of_subject = Consent.subject == subject
    what = f"{subject} consent"
    scope: Scope = "voices" if subject == "voice" else "faces"
    task = "a phrase to be read aloud" if subject == "voice" else "turns of the head to be filmed"

    @bp.post("")
    @needs(scope)
    @takes_bodies(json=inline_schema(ConsentIn), form=inline_schema(ConsentForm))
    @bp.output(ConsentOut, status_code=201)
    @bp.doc(
        summary=f"Record a {what}",
        description=(
            "As JSON where somebody vouches or no real person is behind it; as a form with the recording or film of a "
            "challenge, or with a signed document. Each challenge is for one recording or film, whatever comes of it."
        ),
        operation_id=f"create_{subject}_consent",
    )
    @fails_with("NOT_FOUND", "CONSENT_DOCUMENT_REQUIRED", "LANGUAGE_UNSUPPORTED", *_TERMS, *PROOF, *MEDIA, *STAGE)
    @takes_place
    def create() -> ConsentOut:
        if request.mimetype == "multipart/form-data":
            form: Any = PydanticAdapter(ConsentForm).validate_input(request, "form_and_files")
            return show_consent(_from_form(subject, form))
        body: Any = PydanticAdapter(ConsentIn).validate_input(request, "json")
        document = None
        if body.document is not None:
            with current_gateway().database.session() as session:
                document = find(session, Media, current_tenant(), body.document, what="media", field="document")
        return show_consent(_vouched(subject, body, document))

    @bp.post("/challenges")
    @needs(scope)
    @bp.input(ChallengeIn, arg_name="body")
    @bp.output(ChallengeOut, status_code=201)
    @bp.doc(
        summary=f"Ask somebody for a {what}",
        description=f"Draws {task}. The consent will say what is asked for here, and nothing else.",
        operation_id=f"create_{subject}_consent_challenge",
    )
    @fails_with(*_TERMS)
    def challenge(body: ChallengeIn) -> ChallengeOut:
        gateway = current_gateway()
        terms = Terms(body.who, body.uses or (), body.languages, body.expires_at, body.purpose, {"adult": body.adult})
        kind = "spoken" if subject == "voice" else "filmed"
        terms = check_terms(gateway.policy, subject, kind, terms, Statements(adult=body.adult))  # type: ignore[arg-type]
        return show_challenge(issue_challenge(gateway, current_tenant(), subject, terms))

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

    @bp.get("/<consent_id>/receipt")
    @bp.output(ReceiptOut)
    @bp.doc(
        summary=f"Get the receipt of a {what}",
        description="For the person whose likeness it is: what was agreed, and how it was shown, signed. Anybody can "
        "check it offline with the keys at `/.well-known/jwks.json`.",
        operation_id=f"get_{subject}_consent_receipt",
    )
    @fails_with("NOT_FOUND")
    @needs("read", scope)
    def receipt(consent_id: str) -> ReceiptOut:
        gateway = current_gateway()
        with gateway.database.session() as session:
            consent = find(session, Consent, current_tenant(), consent_id, of_subject, what=what)
            if consent.receipt is None:  # from before there were receipts
                consent.receipt = sign_receipt(
                    consent, gateway.keys.receipts, base_url=base_url(), evidence_sha256=None
                )
            return ReceiptOut(consent=consent.id, receipt=consent.receipt, claims=read_claims(consent.receipt))

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
                entomb(current_gateway().store, "consent", consent.id)  # holds in restored backups, too
                consent.revoked_at, consent.template = utc_now(), None
            return show_consent(consent)

    return bp


def _from_form(subject: Subject, form: ConsentForm) -> Consent:
    if form.document is not None:
        body = _validated(form.as_body())
        return _vouched(subject, body, document_of(form.document.read(MAX_DOCUMENT_BYTES + 1)))
    kind, field = ("spoken", "recording") if subject == "voice" else ("filmed", "film")
    proof = getattr(form, field)
    if proof is None:
        raise LikenessError("INVALID_FIELD", f"A {subject} consent takes a {field}.", field=field)
    if form.kind not in (None, kind):
        raise LikenessError("INVALID_FIELD", f"A {field} makes a {kind} consent.", field="kind")
    if form.language is not None and primary_language(form.language) != "en":
        detail = "Phrases are in English so far; languages of the consent are named when the phrase is asked for."
        raise LikenessError("LANGUAGE_UNSUPPORTED", detail, field="language")
    gateway, giver = current_gateway(), _giver()
    challenge = _challenge_of(subject, form, field)
    if subject == "voice":
        return record_spoken(gateway, challenge, proof.read(), giver)
    content_type = film_content_type(first_bytes(proof.stream))
    if content_type is None:
        raise LikenessError("MEDIA_UNSUPPORTED", "The file is no film that is known here.", field=field)
    with file_of(proof.stream, gateway.settings.spool_dir) as path:
        return record_filmed(gateway, challenge, path, content_type, giver)


def _challenge_of(subject: Subject, form: ConsentForm, field: str) -> str:
    if form.challenge is not None:
        return form.challenge
    found = None if form.name is None else open_challenge_of(current_gateway(), current_tenant(), form.name, subject)
    if found is None:
        detail = f"Name the challenge that the {field} is of; POST {request.path}/challenges makes one."
        raise LikenessError("INVALID_FIELD", detail, field="challenge")
    return found.id


def _vouched(subject: Subject, body: ConsentIn, document: Media | tuple[bytes, str] | None) -> Consent:
    terms = Terms(body.who, body.uses or (), body.languages, body.expires_at, body.purpose)
    given = Vouched(body.kind, body.evidence, body.attested_by, document)
    return record_vouched(current_gateway(), subject, terms, Statements(body.adult, body.born_on), given, _giver())


def _validated(content: dict[str, Any]) -> ConsentIn:
    from pydantic import ValidationError

    try:
        return ConsentIn.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "kind"
        detail = f"{name}: {first['msg'].removeprefix('Value error, ')}"
        raise LikenessError("INVALID_FIELD", detail, field=name) from error


def document_of(data: bytes) -> tuple[bytes, str]:
    if len(data) > MAX_DOCUMENT_BYTES:
        detail = f"A document may have {MAX_DOCUMENT_BYTES} bytes."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="document")
    for magic, content_type in _DOCUMENTS.items():
        if data.startswith(magic):
            return data, content_type
    reason = "MEDIA_UNSUPPORTED" if data else "MEDIA_EMPTY"
    raise LikenessError(reason, "A document is a PDF, a PNG or a JPEG.", field="document")


def _giver() -> Giver:
    return Giver(current_principal(), current_request_id(), base_url())


well_known = APIBlueprint("well_known", __name__, url_prefix="/.well-known", tag="Operation")


@well_known.get("/jwks.json")
@public
@well_known.output(KeySetOut)
@well_known.doc(
    summary="Get the public keys of receipts",
    description="A JSON web key set (RFC 7517), with which receipts of consents are checked.",
    operation_id="get_receipt_keys",
)
def get_receipt_keys() -> dict[str, Any]:
    return public_keys(current_gateway().keys.receipts)


voice_consents = _make_blueprint("voice", "/v1/audio/voice_consents", "Voice consents")
face_consents = _make_blueprint("face", "/v1/face_consents", "Face consents")
