"""/v1/files: media under the names that OpenAI's clients know, as far as batches need them."""

from __future__ import annotations

from typing import Any, Final, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from flask import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement

from services.common.errors import LikenessError
from services.gateway.accounts import needs
from services.gateway.api.fields import (
    FormBody,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.job_views import moment
from services.gateway.api.reasons import fails_with
from services.gateway.batches import CONTENT_TYPE
from services.gateway.db import Media, find, get_page
from services.gateway.downloads import file_response
from services.gateway.media import publish

bp = APIBlueprint("files", __name__, url_prefix="/v1/files", tag="Batches")
_PURPOSES: Final = {"batch_input": "batch", "batch_result": "batch_output"}
_FILE: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_CONTENT_RESPONSES: Final[Any] = {
    200: {"description": "The file", "content": {CONTENT_TYPE: {"schema": _FILE}}},
    206: {"description": "The part of the file that was asked for", "content": {CONTENT_TYPE: {"schema": _FILE}}},
    304: {"description": "Not changed", "content": {}},
}


class FileIn(FormBody):
    """A file to be kept (multipart/form-data)."""

    model_config = ConfigDict(json_schema_extra={"required": ["file", "purpose"]})

    file: UploadFile = Field(description="JSON lines.", json_schema_extra=_FILE)
    purpose: Literal["batch"]


class FileOut(BaseModel):
    """A file of a batch. Its id is that of media."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]


def _of_batches() -> ColumnElement[bool]:
    return Media.purpose.in_(_PURPOSES)


def _show(media: Media) -> FileOut:
    return FileOut.model_validate(
        {
            "id": media.id,
            "object": "file",
            "bytes": media.size_bytes,
            "created_at": unix_seconds(media.created_at),
            "expires_at": moment(media.expires_at),
            "filename": media.file_name,
            "purpose": _PURPOSES[media.purpose],
            "status": "processed",
        }
    )


@bp.post("")
@needs("jobs", "media")
@bp.input(FileIn, location="form_and_files", arg_name="body")
@bp.output(FileOut, status_code=201)
@bp.doc(
    summary="Upload a batch's file",
    description="Compatible with OpenAI's API. Larger files and other media: `/v1/uploads`.",
    operation_id="create_file",
)
@fails_with("MEDIA_EMPTY", "MEDIA_TOO_LARGE", "STORE_UNAVAILABLE")
def create_file(body: FileIn) -> FileOut:
    gateway = current_gateway()
    limit = gateway.settings.max_batch_bytes
    content = body.file.stream.read(limit + 1)
    if not content:
        raise LikenessError("MEDIA_EMPTY", "The file has no content; JSON lines were expected.", field="file")
    if len(content) > limit:
        raise LikenessError("MEDIA_TOO_LARGE", f"A batch's file may have {limit} bytes; split it.", field="file")
    media = publish(gateway, content, tenant=current_tenant(), content_type=CONTENT_TYPE, purpose="batch_input")
    return _show(media)


@bp.get("")
@needs("read", "jobs", "media")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[FileOut])
@bp.doc(summary="List files of batches", operation_id="list_files")
def list_files(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Media, current_tenant(), _of_batches(), after=page.after, limit=page.limit)
    return page_out(found, _show)


@bp.get("/<file_id>")
@needs("read", "jobs", "media")
@bp.output(FileOut)
@bp.doc(summary="Get what is known of a file", operation_id="get_file")
@fails_with("NOT_FOUND")
def get_file(file_id: str) -> FileOut:
    with current_gateway().database.session() as session:
        return _show(find(session, Media, current_tenant(), file_id, _of_batches(), what="file"))


@bp.get("/<file_id>/content")
@needs("read", "jobs", "media")
@bp.doc(
    summary="Get a file's content",
    operation_id="get_file_content",
    responses=_CONTENT_RESPONSES,
)
@fails_with("NOT_FOUND", "RANGE_NOT_SATISFIABLE", "MEDIA_CHECKSUM_MISMATCH", "STORE_UNAVAILABLE")
def get_file_content(file_id: str) -> Response:
    gateway = current_gateway()
    with gateway.database.session() as session:
        media = find(session, Media, current_tenant(), file_id, _of_batches(), what="file")
    return file_response(gateway, media, disposition="attachment")
