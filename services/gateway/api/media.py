"""/v1/media: the files behind records: results, samples, pictures."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response, request
from werkzeug.wsgi import FileWrapper

from services.common.store import fetch_reference
from services.gateway.accounts import needs
from services.gateway.api.fields import current_gateway, current_tenant
from services.gateway.api.reasons import fails_with
from services.gateway.db import Media, find
from services.gateway.media import reference_to

bp = APIBlueprint("media", __name__, url_prefix="/v1/media", tag="Media")
BLOCK_BYTES: Final = 64 * 1024
_CONTENT: Final = {
    f"{kind}/{name}": {"schema": {"type": "string", "format": "binary"}}
    for kind, names in {
        "audio": ("wav", "mpeg", "flac", "ogg", "aac", "pcm"),
        "image": ("png", "jpeg", "webp", "bmp", "gif"),
        "video": ("mp4", "quicktime", "webm", "x-matroska"),
    }.items()
    for name in names
}
_RESPONSES: Final[Any] = {
    200: {"description": "The file", "content": _CONTENT},
    206: {"description": "The part of the file that was asked for", "content": _CONTENT},
    304: {"description": "Not changed", "content": {}},
}


@bp.get("/<media_id>")
@bp.doc(
    summary="Get a file",
    description="Streamed. Answers range requests, and If-None-Match with the entity tag, which is the SHA-256.",
    operation_id="get_media",
    responses=_RESPONSES,
)
@fails_with("NOT_FOUND", "RANGE_NOT_SATISFIABLE", "MEDIA_CHECKSUM_MISMATCH", "STORE_UNAVAILABLE")
@needs("read", "media")
def get_media(media_id: str) -> Response:
    gateway = current_gateway()
    with gateway.database.session() as session:
        media = find(session, Media, current_tenant(), media_id, what="media")
    with fetch_reference(gateway.store, reference_to(gateway, media)) as path:
        file = path.open("rb")  # what is open can be read on, whatever becomes of its name
    response = Response(FileWrapper(file, BLOCK_BYTES), content_type=media.content_type, direct_passthrough=True)
    response.call_on_close(file.close)
    response.content_length = media.size_bytes
    response.set_etag(media.sha256)
    response.last_modified = _whole_seconds(media.created_at)
    response.headers["Content-Disposition"] = f'inline; filename="{media.file_name}"'
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.make_conditional(request.environ, accept_ranges=True, complete_length=media.size_bytes)
    return response


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
