"""/v1/uploads: large files in parts, which can be gone on with after an interruption."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import BaseModel, Field, StringConstraints

from services.common.errors import LikenessError
from services.gateway.accounts import needs, public
from services.gateway.api.fields import (
    JsonBody,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.headers import takes_bodies
from services.gateway.api.reasons import fails_with
from services.gateway.content_kinds import UploadPurpose
from services.gateway.db import Upload, find, get_page
from services.gateway.db.models import utc_now
from services.gateway.large_uploads import (
    UNFINISHED,
    UploadOrder,
    abort_upload,
    begin_upload,
    complete_upload,
    part_count,
    part_size,
    part_url,
    parts_here,
    take_part,
)
from services.gateway.signed_urls import check_signature

bp = APIBlueprint("uploads", __name__, url_prefix="/v1/uploads", tag="Uploads")
# A name, not a path: no slashes, no control characters, not only dots.
FileName = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]*[^\x00-\x20\x7f/\\.][^\x00-\x1f\x7f/\\]*$")
]


class UploadIn(JsonBody):
    """A file that is going to be uploaded."""

    file_name: FileName = Field(description="Under which it is saved when it is downloaded.")
    size_bytes: int = Field(ge=1, le=2**53, description="Of the whole.")
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = Field(
        None, description="Of the whole; when given, what arrives must have it."
    )
    purpose: UploadPurpose = Field("swap_target", description="What it is for, which decides what kinds of files fit.")


class UploadPart(BaseModel):
    """One part of an upload."""

    number: int = Field(description="From 1.")
    size_bytes: int = Field(description="How many it must have.")
    received: bool
    url: str | None = Field(description="Where to PUT it, without an API key; null for one that is here.")


class UploadOut(BaseModel):
    """An upload, as far as it is."""

    id: str
    object: Literal["upload"]
    created_at: int
    expires_at: datetime = Field(description="It must be complete by then.")
    status: Literal["open", "completing", "completed", "aborted", "expired"]
    purpose: UploadPurpose
    file_name: str
    size_bytes: int
    received_bytes: int
    part_size_bytes: int = Field(description="Of every part but the last.")
    sha256: str | None
    parts: list[UploadPart] = Field(description="Empty in lists, and once the upload has ended.")
    media: str | None = Field(description="The file, once the upload is complete: for `target_media` and the like.")


def base_url() -> str:
    """Under which clients reach the gateway."""
    return current_gateway().settings.public_url or request.host_url


def show_upload(upload: Upload, *, with_parts: bool = True) -> UploadOut:
    gateway = current_gateway()
    is_late = upload.state in UNFINISHED and upload.expires_at <= utc_now()
    parts: list[dict[str, Any]] = []
    received = upload.size_bytes if upload.state in ("completing", "completed") else 0
    if with_parts and upload.state == "open" and not is_late:
        here, base = parts_here(gateway, upload), base_url()
        received = sum(part.size_bytes for part in here.values())
        parts = [
            {
                "number": number,
                "size_bytes": part_size(upload, number),
                "received": number in here,
                "url": None if number in here else part_url(gateway, upload, number, base),
            }
            for number in range(1, part_count(upload) + 1)
        ]
    return UploadOut.model_validate(
        {
            "id": upload.id,
            "object": "upload",
            "created_at": unix_seconds(upload.created_at),
            "expires_at": upload.expires_at,
            "status": "expired" if is_late else upload.state,
            "purpose": upload.purpose,
            "file_name": upload.file_name,
            "size_bytes": upload.size_bytes,
            "received_bytes": received,
            "part_size_bytes": upload.part_size_bytes,
            "sha256": upload.sha256,
            "parts": parts,
            "media": upload.media_id,
        }
    )


@bp.post("")
@needs("media")
@bp.input(UploadIn, arg_name="body")
@bp.output(UploadOut, status_code=201)
@bp.doc(
    summary="Begin an upload",
    description="For files that are too large for a request of their own. Send each part with PUT to its URL, in any "
    "order; the URLs work for a short time, and `GET /v1/uploads/{id}` has new ones for the parts that are missing. "
    "Then complete it.",
    operation_id="create_upload",
)
@fails_with("MEDIA_TOO_LARGE", "STORE_UNAVAILABLE")
def create_upload(body: UploadIn) -> UploadOut:
    order = UploadOrder(body.file_name, body.size_bytes, body.sha256, body.purpose)
    return show_upload(begin_upload(current_gateway(), current_tenant(), order))


@bp.get("")
@needs("read", "media")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[UploadOut])
@bp.doc(summary="List uploads", description="Those that are open, and lately ended ones.", operation_id="list_uploads")
def list_uploads(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Upload, current_tenant(), after=page.after, limit=page.limit)
    return page_out(found, lambda upload: show_upload(upload, with_parts=False))


@bp.get("/<upload_id>")
@needs("read", "media")
@bp.output(UploadOut)
@bp.doc(
    summary="Get an upload",
    description="Which parts are here, and where the others go: what is needed to go on after an interruption.",
    operation_id="get_upload",
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def get_upload(upload_id: str) -> UploadOut:
    with current_gateway().database.session() as session:
        upload = find(session, Upload, current_tenant(), upload_id, what="upload")
    return show_upload(upload)


@bp.post("/<upload_id>/complete")
@needs("media")
@bp.output(UploadOut)
@bp.doc(
    summary="Complete an upload",
    description="Puts the parts together, hashes the whole and finds out what kind of file it is. `media` of the "
    "answer is its id. Completing it again, also at the same time, gives the same answer. Parts that are missing can "
    "still be sent; a file that is not what was announced ends the upload.",
    operation_id="complete_upload",
)
@fails_with(
    "NOT_FOUND", "UPLOAD_INCOMPLETE", "UPLOAD_MISMATCH", "UPLOAD_ENDED", "MEDIA_UNSUPPORTED", "STORE_UNAVAILABLE"
)
def complete(upload_id: str) -> UploadOut:
    return show_upload(complete_upload(current_gateway(), current_tenant(), upload_id))


@bp.delete("/<upload_id>")
@needs("media")
@bp.output(UploadOut)
@bp.doc(
    summary="Abort an upload",
    description="Deletes what has arrived. One that has ended stays as it is; its media are deleted as media.",
    operation_id="abort_upload",
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def abort(upload_id: str) -> UploadOut:
    return show_upload(abort_upload(current_gateway(), current_tenant(), upload_id))


class SignedQuery(BaseModel):
    """What makes a URL work without a key."""

    expires: int = Field(ge=0, le=2**53, description="Until when, in Unix seconds.")
    signature: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


_PART_DONE: Final[Any] = {204: {"description": "The part is here; ETag names its content"}}


@bp.put("/<upload_id>/parts/<int:number>")
@public
@takes_bodies(binary={"type": "string", "format": "binary"})
@bp.input(SignedQuery, location="query", arg_name="signed")
@bp.doc(
    summary="Send a part",
    description="At the URL that the upload names, where parts go to the gateway and not straight to the object store. "
    "Needs no API key. A part that is sent again replaces the earlier one.",
    operation_id="put_upload_part",
    responses=_PART_DONE,
)
@fails_with("SIGNATURE_INVALID", "NOT_FOUND", "UPLOAD_ENDED", "UPLOAD_MISMATCH", "STORE_UNAVAILABLE")
def put_part(upload_id: str, number: int, signed: SignedQuery) -> Response:
    gateway = current_gateway()
    path = f"/v1/uploads/{upload_id}/parts/{number}"
    check_signature(gateway.store, "PUT", path, signed.expires, signed.signature)
    with gateway.database.session() as session:
        upload = session.get(Upload, upload_id)
    if upload is None:
        raise LikenessError("NOT_FOUND", f"There is no upload {upload_id!r}.")
    part = take_part(gateway, upload, number, request.stream, request.content_length)
    response = Response(status=204)
    response.set_etag(part.etag)
    return response
