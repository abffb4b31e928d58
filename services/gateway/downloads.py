"""A file on its way to a client: streamed from the store, in ranges, by a URL that needs no key."""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from flask import Response, request
from werkzeug.wsgi import FileWrapper

from services.common.store import ObjectStore, changed
from services.gateway.context import Gateway
from services.gateway.db import Media
from services.gateway.media import KEPT_WITH_LIKENESS
from services.gateway.signed_urls import sign_path

BLOCK_BYTES: Final = 64 * 1024


class StoredReader(io.RawIOBase):
    """An object as a file that can be read from anywhere. Nothing is fetched before the first byte is asked for, and
    no more than up to `stop`."""

    def __init__(self, store: ObjectStore, key: str, size_bytes: int, stop: int | None = None) -> None:
        self._store = store
        self._key = key
        self._size = size_bytes
        self._stop = size_bytes if stop is None else min(stop, size_bytes)
        self._position = 0
        self._left = b""
        self._blocks: Any = None
        self._opened = ExitStack()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._reset()
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; without one, the next block."""
        if self._blocks is None:
            if self._position >= self._stop:
                return b""
            self._blocks = self._opened.enter_context(self._store.read(self._key, self._position, self._stop))
        if not self._left:
            self._left = next(self._blocks, b"")
        size = len(self._left) if size < 0 else size
        piece, self._left = self._left[:size], self._left[size:]
        self._position += len(piece)
        return piece

    def close(self) -> None:
        self._reset()
        super().close()

    def _reset(self) -> None:
        self._left, self._blocks = b"", None
        self._opened.close()


def file_response(gateway: Gateway, media: Media, *, disposition: str = "inline") -> Response:
    """The file, or the range of it that the request asks for.

    Raises:
        LikenessError: NOT_FOUND, STORE_UNAVAILABLE, MEDIA_CHECKSUM_MISMATCH when it is not what the record says.
    """
    stored = gateway.store.head(media.key)
    if (stored.sha256, stored.size_bytes) != (media.sha256, media.size_bytes):
        raise changed(media.key, "media")
    found = request.range.range_for_length(media.size_bytes) if request.range is not None else None
    reader = StoredReader(gateway.store, media.key, media.size_bytes, None if found is None else found[1])
    response = Response(
        FileWrapper(reader, BLOCK_BYTES),  # type: ignore[arg-type]
        content_type=media.content_type,
        direct_passthrough=True,
    )
    response.call_on_close(reader.close)
    response.content_length = media.size_bytes
    response.set_etag(media.sha256)
    response.last_modified = _whole_seconds(media.created_at)
    response.headers["Content-Disposition"] = content_disposition(disposition, media.file_name)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.make_conditional(request.environ, accept_ranges=True, complete_length=media.size_bytes)
    return response


def signed_url(gateway: Gateway, media: Media, base_url: str) -> tuple[str, int]:
    """A URL of the file for who has no key, and until when it works, in Unix seconds.

    It is the store's own where clients reach that, else the gateway's, which begins with `base_url`.
    """
    seconds = gateway.settings.signed_url_ttl_s
    expires_at = int(time.time()) + seconds
    disposition = content_disposition("inline", media.file_name)
    url = gateway.store.presigned_get(media.key, seconds, content_type=media.content_type, disposition=disposition)
    if url is None:
        path = sign_path(gateway.store, "GET", f"/v1/media/{media.id}/content", expires_at)
        url = f"{base_url.rstrip('/')}{path}"
    return url, expires_at


def content_disposition(kind: str, file_name: str) -> str:
    """RFC 6266: the name, and where it is not ASCII, also as RFC 8187 writes it, beside a name for old clients."""
    plain = file_name.encode("ascii", "replace").decode().replace("?", "_") if not file_name.isascii() else file_name
    plain = plain.replace("\\", "_").replace('"', "_")
    header = f'{kind}; filename="{plain}"'
    return header if plain == file_name else f"{header}; filename*=UTF-8''{quote(file_name, safe='')}"


def expires_at(media: Media, ttl_days: float | None) -> datetime | None:
    """When a file is deleted: at its own time, or at an age; whichever comes first. None: not by itself."""
    moments = [] if media.expires_at is None else [media.expires_at]
    if ttl_days and media.purpose not in KEPT_WITH_LIKENESS:
        moments.append(media.created_at + timedelta(days=ttl_days))
    return min(moments, default=None)


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
