"""/v1/verify: whether a file was made here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from flask import current_app
from pydantic import BaseModel, ConfigDict, Field

from services.common.errors import LikenessError
from services.common.store import fetch_reference
from services.gateway.accounts import current_principal, needs, open_to_strangers
from services.gateway.admission import takes_place
from services.gateway.api.fields import FormBody, Identifier, current_gateway
from services.gateway.api.reasons import MEDIA, fails_with
from services.gateway.auditing import note
from services.gateway.context import Gateway
from services.gateway.db import Media, find
from services.gateway.media import reference_to
from services.gateway.provenance.examiner import Examiner
from services.gateway.provenance.file_kind import PCM, kind_of
from services.gateway.provenance.reading import (
    MAX_SIDECAR_BYTES,
    ManifestState,
    Signer,
    TrustedCertificates,
    load_trusted_certificates,
)
from services.gateway.provenance.verification import Evidence, Verification, verify_file
from services.gateway.uploads import file_of

bp = APIBlueprint("verify", __name__, url_prefix="/v1/verify", tag="Provenance")
TRUSTED_FOLDER: Final = "c2pa"  # in the folder of keys
_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_EXTENSION: Final = "likeness_verifier"


class VerifyIn(FormBody):
    """A file, or one that is kept here (multipart/form-data)."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["file"]}, {"required": ["media"]}]})

    file: UploadFile | None = Field(
        None, description="A recording, picture or film of any kind that Likeness reads.", json_schema_extra=_FILE
    )
    media: Identifier | None = Field(None, description="Instead of file: id of media that are here already.")
    manifest: UploadFile | None = Field(
        None, description="The manifest beside the file (.c2pa), where there is one.", json_schema_extra=_FILE
    )
    format: Literal["pcm"] | None = Field(
        None, description="Of bare samples, which tell nothing of themselves: 16 bits, 24 kHz, mono."
    )


class ManifestOut(BaseModel):
    """What the file's C2PA manifest is worth."""

    state: ManifestState = Field(description="broken: the file or the manifest was changed after signing.")
    signer: Signer | None = Field(
        description="own: this installation. trusted: one that the operator's list vouches for. unknown: anybody."
    )
    development: bool = Field(description="The certificate is one for development, which proves nothing to others.")
    issuer: str | None
    place: Literal["inside", "beside"] | None
    generator: str | None
    source_type: str | None = Field(description="IPTC's digital source type.")
    problems: list[str]


class SeenMarkOut(BaseModel):
    """An invisible mark that was read."""

    place: Literal["sound", "picture", "film"]
    confidence: float = Field(description="1 - the probability that unmarked media give as strong a signal.")


class ConsentLinkOut(BaseModel):
    """With which consent it was made."""

    id: str
    kind: str | None
    state: Literal["live", "expired", "revoked", "deleted"]


class OriginOut(BaseModel):
    """An output of this installation that the file comes from."""

    made_at: datetime
    kind: str
    evidence: list[Evidence] = Field(
        description="file: it is that output, byte for byte. manifest: its manifest says so, and fits. mark: it "
        "carries its number."
    )
    unchanged: bool | None = Field(description="Byte for byte; null where no hash was recorded, as of streams.")
    number: int | None = Field(description="Which it carries. This and what follows is told to its tenant only.")
    job: str | None
    media: str | None
    consent: ConsentLinkOut | None


class VerificationOut(BaseModel):
    """Whether a file was made here, and by what that is known."""

    object: Literal["verification"] = "verification"
    made_here: bool = Field(description="false: nothing says so, which proves nothing.")
    summary: str
    content_type: str
    size_bytes: int
    sha256: str
    manifest: ManifestOut
    marks: list[SeenMarkOut]
    unsearched: str | None = Field(description="Why marks could not be looked for.")
    origins: list[OriginOut]


@bp.post("")
@needs()
@open_to_strangers
@bp.input(VerifyIn, location="form_and_files", arg_name="body")
@bp.output(VerificationOut)
@bp.doc(
    summary="Verify a file",
    description="Whether it was made here: by its manifest, by the invisible mark, and by its hash. By which job, and "
    "with which consent, is told to the tenant whose output it is; others learn that it was made here, and when: also "
    "those without a key, where the operator lets them ask. Nothing found proves nothing.",
    operation_id="verify_file",
)
@fails_with("NOT_FOUND", "QUEUE_FULL", "STORE_UNAVAILABLE", *MEDIA)
@takes_place
def verify(body: VerifyIn) -> VerificationOut:
    gateway, principal = current_gateway(), current_principal()
    examiner, trusted = _verifier(gateway)
    sidecar = _sidecar(body.manifest)
    with _file(gateway, body) as path:
        content_type = PCM if body.format == "pcm" else kind_of(path, field="file")
        found = verify_file(
            gateway,
            examiner,
            trusted,
            path,
            content_type,
            tenant=principal.tenant,
            sees_all=principal.is_operator,
            sidecar=sidecar,
        )
    jobs = [origin.job for origin in found.origins if origin.job]
    note(verification={"made_here": found.made_here, "sha256": found.seen.sha256, "jobs": jobs})
    return _show(found)


def _show(found: Verification) -> VerificationOut:
    seen = found.seen
    return VerificationOut.model_validate(
        {
            "made_here": found.made_here,
            "summary": found.summary,
            "content_type": seen.content_type,
            "size_bytes": seen.size_bytes,
            "sha256": seen.sha256,
            "manifest": {**asdict(seen.manifest), "problems": list(seen.manifest.problems)},
            "marks": [asdict(mark) for mark in seen.marks],
            "unsearched": seen.unsearched,
            "origins": [{**asdict(origin), "evidence": list(origin.evidence)} for origin in found.origins],
        }
    )


@contextmanager
def _file(gateway: Gateway, body: VerifyIn) -> Iterator[Path]:
    """Where the file can be read. Raises LikenessError."""
    if (body.file is None) == (body.media is None):
        raise LikenessError("INVALID_FIELD", "Send either a file, or the id of media.", field="file")
    if body.file is not None:
        with file_of(body.file.stream, gateway.settings.spool_dir) as path:
            yield path
        return
    with gateway.database.session() as session:
        media = find(session, Media, current_principal().tenant, str(body.media), what="media", field="media")
    with fetch_reference(gateway.store, reference_to(gateway, media)) as path:
        yield path


def _sidecar(upload: UploadFile | None) -> bytes | None:
    if upload is None:
        return None
    content: bytes = upload.stream.read(MAX_SIDECAR_BYTES + 1)
    if not content or len(content) > MAX_SIDECAR_BYTES:
        detail = f"A manifest has 1 to {MAX_SIDECAR_BYTES} bytes."
        raise LikenessError("MEDIA_TOO_LARGE" if content else "MEDIA_EMPTY", detail, field="manifest")
    return content


def _verifier(gateway: Gateway) -> tuple[Examiner, TrustedCertificates]:
    """Made at the first request of a process."""
    found: tuple[Examiner, TrustedCertificates] | None = current_app.extensions.get(_EXTENSION)
    if found is None:
        folder = gateway.settings.resolved_keys_dir / TRUSTED_FOLDER
        trusted = load_trusted_certificates(gateway.manifests.key.certificates[0], folder)
        found = current_app.extensions.setdefault(_EXTENSION, (Examiner(), trusted))
    return found
