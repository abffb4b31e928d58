"""/v1/media: the files behind records: results, samples, pictures, uploads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from apiflask import APIBlueprint
from flask import Response, g
from pydantic import BaseModel, Field

from services.common.errors import LikenessError
from services.gateway.accounts import needs, public
from services.gateway.api.fields import (
    Deleted,
    Identifier,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.manifests import MANIFEST_RESPONSES, has_manifest_beside, manifest_response
from services.gateway.api.reasons import fails_with
from services.gateway.api.uploads import SignedQuery, base_url
from services.gateway.db import Media, find, get_page
from services.gateway.deletion import delete_media
from services.gateway.downloads import expires_at, file_response, signed_url
from services.gateway.media import Purpose
from services.gateway.provenance.release import manifest_link
from services.gateway.signed_urls import check_signature

bp = APIBlueprint("media", __name__, url_prefix="/v1/media", tag="Media")
_CONTENT: Final = {
    f"{kind}/{name}": {"schema": {"type": "string", "format": "binary"}}
    for kind, names in {
        "audio": ("wav", "mpeg", "flac", "ogg", "aac", "pcm", "mp4"),
        "image": ("png", "jpeg", "webp", "bmp", "gif"),
        "video": ("mp4", "quicktime", "webm", "x-matroska"),
        "application": ("jsonl", "c2pa"),
    }.items()
    for name in names
}
_RESPONSES: Final[Any] = {
    200: {"description": "The file", "content": _CONTENT},
    206: {"description": "The part of the file that was asked for", "content": _CONTENT},
    304: {"description": "Not changed", "content": {}},
}
_FILE_FAILURES: Final = ("NOT_FOUND", "RANGE_NOT_SATISFIABLE", "MEDIA_CHECKSUM_MISMATCH", "STORE_UNAVAILABLE")


class MediaOut(BaseModel):
    """What is known of a file."""

    id: str
    object: Literal["media"]
    created_at: int
    expires_at: datetime | None = Field(description="When it is deleted by itself; null: it is not.")
    purpose: Purpose
    file_name: str
    content_type: str
    size_bytes: int
    sha256: str
    job: str | None = Field(description="Which made it.")


class MediaUrl(BaseModel):
    """A URL that works without an API key, for a short time."""

    url: str
    expires_at: datetime


class MediaQuery(PageQuery):
    """Which files."""

    purpose: Purpose | None = Field(None, description="Only those.")
    job: Identifier | None = Field(None, description="Only what this job made.")


def show_media(media: Media) -> MediaOut:
    return MediaOut.model_validate(
        {
            "id": media.id,
            "object": "media",
            "created_at": unix_seconds(media.created_at),
            "expires_at": expires_at(media, g.principal.limits.media_ttl_days),
            "purpose": media.purpose,
            "file_name": media.file_name,
            "content_type": media.content_type,
            "size_bytes": media.size_bytes,
            "sha256": media.sha256,
            "job": media.job_id,
        }
    )


@bp.get("")
@needs("read", "media")
@bp.input(MediaQuery, location="query", arg_name="wanted")
@bp.output(PageOut[MediaOut])
@bp.doc(summary="List files", operation_id="list_media")
def list_media(wanted: MediaQuery) -> dict[str, Any]:
    conditions = [] if wanted.purpose is None else [Media.purpose == wanted.purpose]
    if wanted.job is not None:
        conditions.append(Media.job_id == wanted.job)
    with current_gateway().database.session() as session:
        found = get_page(session, Media, current_tenant(), *conditions, after=wanted.after, limit=wanted.limit)
        return page_out(found, show_media)


@bp.get("/<media_id>")
@needs("read", "media")
@bp.doc(
    summary="Get a file",
    description="Streamed. Answers range requests, and If-None-Match with the entity tag, which is the SHA-256.",
    operation_id="get_media",
    responses=_RESPONSES,
)
@fails_with(*_FILE_FAILURES)
def get_media(media_id: str) -> Response:
    media = _find(media_id)
    response = file_response(current_gateway(), media)
    if media.job_id is not None and has_manifest_beside(media):
        response.headers["Link"] = manifest_link(media.job_id)
    return response


@bp.get("/<media_id>/info")
@needs("read", "media")
@bp.output(MediaOut)
@bp.doc(summary="Get what is known of a file", operation_id="get_media_info")
@fails_with("NOT_FOUND")
def get_media_info(media_id: str) -> MediaOut:
    return show_media(_find(media_id))


@bp.get("/<media_id>/manifest")
@needs("read", "media")
@bp.doc(
    summary="Get the manifest beside a file",
    description="The signed C2PA manifest of an output whose container has no place for one (Ogg, AAC, PCM, WebM), or "
    "that was sent while it was made. Other outputs carry theirs inside.",
    operation_id="get_media_manifest",
    responses=MANIFEST_RESPONSES,
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def get_media_manifest(media_id: str) -> Response:
    media = _find(media_id)
    return manifest_response(media.job_id, media.id)


@bp.post("/<media_id>/url")
@needs("read", "media")
@bp.output(MediaUrl)
@bp.doc(
    summary="Get a URL of a file that needs no key",
    description="It leads straight to the object store where clients reach that, else to the gateway; ranges work at "
    "both. Who has the URL has the file, for the time it works.",
    operation_id="create_media_url",
)
@fails_with("NOT_FOUND", "STORE_UNAVAILABLE")
def create_media_url(media_id: str) -> MediaUrl:
    url, until = signed_url(current_gateway(), _find(media_id), base_url())
    return MediaUrl(url=url, expires_at=datetime.fromtimestamp(until, UTC))


@bp.get("/<media_id>/content")
@public
@bp.input(SignedQuery, location="query", arg_name="signed")
@bp.doc(
    summary="Get a file by a signed URL",
    description="What `POST /v1/media/{id}/url` leads to where files go through the gateway. Needs no API key.",
    operation_id="get_media_content",
    responses=_RESPONSES,
)
@fails_with("SIGNATURE_INVALID", *_FILE_FAILURES)
def get_media_content(media_id: str, signed: SignedQuery) -> Response:
    gateway = current_gateway()
    check_signature(gateway.store, "GET", f"/v1/media/{media_id}/content", signed.expires, signed.signature)
    with gateway.database.session() as session:
        media = session.get(Media, media_id)
    if media is None:
        raise LikenessError("NOT_FOUND", f"There is no media {media_id!r}.")
    return file_response(gateway, media)


@bp.delete("/<media_id>")
@needs("media")
@bp.output(Deleted)
@bp.doc(
    summary="Delete a file",
    description="With all that was made of it. The recording of a voice and the pictures of a face are deleted with "
    "the voice or face; what unfinished work needs, when that has ended.",
    operation_id="delete_media",
)
@fails_with("NOT_FOUND", "IN_USE")
def delete_one(media_id: str) -> dict[str, Any]:
    delete_media(current_gateway(), current_tenant(), media_id)
    return {"id": media_id, "object": "media.deleted"}


def _find(media_id: str) -> Media:
    with current_gateway().database.session() as session:
        return find(session, Media, current_tenant(), media_id, what="media")
