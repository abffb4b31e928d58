"""Uploads in parts to S3: its multipart uploads.

The `minio` client keeps these calls to itself (they begin with an underscore) although they are the S3 API one to one;
they are used here and nowhere else, and its version is bounded in pyproject.toml.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import IO, Any

from minio.datatypes import Part
from minio.helpers import genheaders
from minio.sse import Sse

from services.common.errors import LikenessError
from services.common.store import DEFAULT_CONTENT_TYPE, StoredPart, check_key, not_found
from services.common.store_s3_connection import outages


class S3Parts:
    """Implements `PartStore`."""

    def __init__(
        self, client: Any, presigner: Any, bucket: str, sse: Sse | None, require_bucket: Callable[[], None]
    ) -> None:
        self._client = client
        self._presigner = presigner
        self._bucket = bucket
        self._sse = sse
        self._require_bucket = require_bucket

    def begin(self, key: str, content_type: str = DEFAULT_CONTENT_TYPE) -> str:
        headers = genheaders(None, self._sse, None, None, False) | {"Content-Type": content_type}
        with outages(check_key(key)):
            self._require_bucket()
            return str(self._client._create_multipart_upload(self._bucket, key, headers))

    def put(self, key: str, upload_id: str, number: int, content: IO[bytes], size_bytes: int) -> StoredPart:
        data = content.read(size_bytes)
        with outages(check_key(key)):
            etag = self._client._upload_part(self._bucket, key, data, None, upload_id, number)
        return StoredPart(number, len(data), str(etag))

    def list(self, key: str, upload_id: str) -> list[StoredPart]:
        found: list[StoredPart] = []
        marker: str | None = None
        while True:
            with outages(check_key(key)):
                page = self._client._list_parts(self._bucket, key, upload_id, part_number_marker=marker)
            found += [StoredPart(part.part_number, int(part.size), part.etag) for part in page.parts]
            if not page.is_truncated:
                return sorted(found, key=lambda part: part.number)
            marker = str(page.next_part_number_marker)

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        named = [Part(part.number, part.etag) for part in parts]
        with outages(check_key(key)):
            self._client._complete_multipart_upload(self._bucket, key, upload_id, named)

    def abort(self, key: str, upload_id: str) -> None:
        try:
            with outages(check_key(key)):
                self._client._abort_multipart_upload(self._bucket, key, upload_id)
        except LikenessError as error:
            if error.reason != "NOT_FOUND":
                raise

    def abort_older(self, before: datetime) -> int:
        with outages():
            self._require_bucket()
            page = self._client._list_multipart_uploads(self._bucket)
        old = [item for item in page.uploads if item.initiated_time is not None and item.initiated_time < before]
        for item in old:
            self.abort(item.object_name, item.upload_id)
        return len(old)

    def presigned_put(self, key: str, upload_id: str, number: int, expires_s: int) -> str | None:
        if self._presigner is None:
            return None
        if not upload_id:
            raise not_found(key)
        query = {"partNumber": str(number), "uploadId": upload_id}
        return str(
            self._presigner.get_presigned_url(
                "PUT", self._bucket, check_key(key), timedelta(seconds=expires_s), extra_query_params=query
            )
        )
