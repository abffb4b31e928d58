"""The object store on any S3 endpoint (MinIO, Ceph, AWS), through the `minio` client.

The SHA-256 travels as user metadata of the object. The bucket is made on first use where the account may."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from minio.commonconfig import REPLACE, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.helpers import genheaders

from services.common.errors import LikenessError
from services.common.file_cache import FileCache
from services.common.models import file_sha256
from services.common.store import (
    DEFAULT_CONTENT_TYPE,
    MAX_OBJECT_BYTES,
    ListedObject,
    StoredObject,
    changed,
    check_key,
    check_prefix,
    require_prefix,
    too_large,
)
from services.common.store_s3_connection import Encryption, connector, encryption_of, outages
from services.common.store_s3_parts import S3Parts

_SHA256_KEY: Final = "x-amz-meta-sha256"
_BLOCK_BYTES: Final = 1024 * 1024
_TAKEN: Final = frozenset(("PreconditionFailed", "ConditionalRequestConflict"))
_UNCONDITIONAL: Final = frozenset(("NotImplemented", "InvalidArgument", "InvalidRequest"))
_SMALL_BYTES: Final = 256 * 1024  # sent at once by `put_once`, where asking first would cost as much


class S3Store:
    """Objects in a bucket. Implements `ObjectStore`.

    Args:
        cache_dir: where objects that were fetched as files are kept; None means the system's folder of temporary files.
        encryption: of what is written: "s3" (SSE-S3), "kms" (SSE-KMS, with `kms_key_id`), or as the bucket has it.
        public_url: address of the endpoint in presigned URLs; empty: that of `endpoint`; None: no presigned URLs.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        bucket: str,
        access_key: str = "",
        secret_key: str = "",
        region: str = "us-east-1",
        secure: bool = True,
        cache_dir: Path | None = None,
        encryption: Encryption = "",
        kms_key_id: str = "",
        public_url: str | None = "",
    ) -> None:
        self.bucket = bucket
        self._cache = FileCache(cache_dir or Path(tempfile.gettempdir()) / "likeness-cache")
        self._sse = encryption_of(encryption, kms_key_id)
        connect = connector(access_key, secret_key, region)
        self.client: Any = connect(endpoint, secure)
        self._presigner: Any = None
        if public_url is not None:
            url = urlsplit(public_url)
            self._presigner = connect(url.netloc, url.scheme == "https") if url.netloc else self.client
        self.parts = S3Parts(self.client, self._presigner, bucket, self._sse, self.require_bucket)
        self._bucket_known = False

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        stored = StoredObject(check_key(key), hashlib.sha256(data).hexdigest(), len(data), content_type)
        with outages(key):
            self.require_bucket()
            self.client.put_object(
                self.bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type=content_type,
                metadata={_SHA256_KEY: stored.sha256},
                sse=self._sse,
            )
        return stored

    def put_once(self, key: str, content: bytes | Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        if isinstance(content, Path):
            return self.head(key) if self.exists(key) else self.put_file(key, content, content_type)
        stored = StoredObject(check_key(key), hashlib.sha256(content).hexdigest(), len(content), content_type)
        if len(content) > _SMALL_BYTES and self.exists(key):
            return self.head(key)
        headers = genheaders({_SHA256_KEY: stored.sha256}, self._sse, None, None, False)
        headers |= {"Content-Type": content_type, "If-None-Match": "*"}
        with outages(key):
            self.require_bucket()
            try:
                # put_object takes no conditions; this is what it calls for a content of one piece.
                self.client._put_object(self.bucket, key, content, headers)
            except S3Error as error:
                if error.code in _TAKEN:
                    return self.head(key)
                if error.code not in _UNCONDITIONAL:
                    raise
                return self.head(key) if self.exists(key) else self.put(key, content, content_type)
        return stored

    def copy(self, source: str, key: str, *, sha256: str, content_type: str) -> StoredObject:
        size_bytes = self._stat(source).size
        with outages(source):
            self.client.copy_object(
                self.bucket,
                check_key(key),
                CopySource(self.bucket, source),
                sse=self._sse,
                metadata={_SHA256_KEY: sha256, "Content-Type": content_type},
                metadata_directive=REPLACE,
            )
        return StoredObject(key, sha256, int(size_bytes), content_type)

    @contextmanager
    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes]]:
        check_key(key)
        if stop is not None and stop <= start:
            yield iter(())
            return
        with outages(key):
            self.require_bucket()
            response = self.client.get_object(self.bucket, key, offset=start, length=stop - start if stop else 0)
            try:
                yield response.stream(_BLOCK_BYTES)
            finally:
                response.close()
                response.release_conn()

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        check_key(key)
        with outages(key):
            self.require_bucket()
            response = self.client.get_object(self.bucket, key)
            try:
                declared = int(response.headers.get("content-length", 0))
                if declared > max_bytes:
                    raise too_large(key, declared, max_bytes)
                data = bytes(response.read(max_bytes + 1))
            finally:
                response.close()
                response.release_conn()
        if len(data) > max_bytes:
            raise too_large(key, len(data), max_bytes)
        return data

    def put_file(self, key: str, path: Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        stored = StoredObject(check_key(key), file_sha256(path), path.stat().st_size, content_type)
        metadata = {_SHA256_KEY: stored.sha256}
        with outages(key):
            self.require_bucket()
            self.client.fput_object(
                self.bucket, key, str(path), content_type=content_type, metadata=metadata, sse=self._sse
            )
        return stored

    @contextmanager
    def fetch(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> Iterator[Path]:
        """Streams the object into the cache, unless its content lies there."""
        stored = self.head(key)
        if stored.size_bytes > max_bytes:
            raise too_large(key, stored.size_bytes, max_bytes)
        with ExitStack() as handed_out:
            with outages(key):
                path = handed_out.enter_context(
                    self._cache.open(stored.sha256, lambda file: self._download(stored, file))
                )
            yield path

    def _download(self, stored: StoredObject, file: BinaryIO) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        with outages(stored.key):
            response = self.client.get_object(self.bucket, stored.key)
            try:
                for block in response.stream(_BLOCK_BYTES):
                    size_bytes += len(block)
                    if size_bytes > stored.size_bytes:
                        raise changed(stored.key)
                    file.write(block)
                    digest.update(block)
            finally:
                response.close()
                response.release_conn()
        if digest.hexdigest() != stored.sha256:
            raise changed(stored.key)

    def head(self, key: str) -> StoredObject:
        state = self._stat(key)
        sha256 = (state.metadata or {}).get(_SHA256_KEY)
        if not sha256:  # written by somebody else
            digest = hashlib.sha256()
            with self.read(key) as blocks:
                for block in blocks:
                    digest.update(block)
            sha256 = digest.hexdigest()
        return StoredObject(key, sha256, int(state.size), state.content_type or DEFAULT_CONTENT_TYPE)

    def _stat(self, key: str) -> Any:
        check_key(key)
        with outages(key):
            self.require_bucket()
            return self.client.stat_object(self.bucket, key)

    def exists(self, key: str) -> bool:
        try:
            self._stat(key)
        except LikenessError as error:
            if error.reason != "NOT_FOUND":
                raise
            return False
        return True

    def delete(self, key: str) -> None:
        check_key(key)
        with outages(key):
            self.require_bucket()
            self.client.remove_object(self.bucket, key)

    def delete_prefix(self, prefix: str) -> int:
        keys = [listed.key for listed in self.keys(require_prefix(prefix))]
        with outages():
            failed = list(self.client.remove_objects(self.bucket, [DeleteObject(key) for key in keys]))
        if failed:
            detail = f"The object store did not delete {failed[0].name!r}: {failed[0].code}."
            raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0)
        return len(keys)

    def keys(self, prefix: str = "") -> Iterator[ListedObject]:
        """One request per thousand objects, while they are taken."""
        check_prefix(prefix)
        with outages():
            self.require_bucket()
            for item in self.client.list_objects(self.bucket, prefix=prefix, recursive=True):
                yield ListedObject(item.object_name, int(item.size or 0), item.last_modified)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Asks for each object's metadata on its own: one request per object."""
        for listed in self.keys(prefix):
            try:
                yield self.head(listed.key)
            except LikenessError as error:
                if error.reason not in ("NOT_FOUND", "INVALID_FIELD"):  # deleted meanwhile; not written by us
                    raise

    def presigned_get(self, key: str, expires_s: int, *, content_type: str, disposition: str) -> str | None:
        if self._presigner is None:
            return None
        headers = {"response-content-type": content_type, "response-content-disposition": disposition}
        return str(
            self._presigner.get_presigned_url(
                "GET", self.bucket, check_key(key), timedelta(seconds=expires_s), response_headers=headers
            )
        )

    def require_bucket(self) -> None:
        """Makes the bucket when it is not there; asks only once."""
        if self._bucket_known:
            return
        if not self.client.bucket_exists(self.bucket):
            try:
                self.client.make_bucket(self.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise
        self._bucket_known = True
