"""The object store on any S3 endpoint (MinIO, Ceph, AWS), through the `minio` client.

The SHA-256 travels as user metadata of the object. The bucket is made on first use where the account may.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import minio
import urllib3
from minio.error import MinioException, S3Error

from services.common.errors import LikenessError
from services.common.file_cache import FileCache
from services.common.models import file_sha256
from services.common.store import (
    DEFAULT_CONTENT_TYPE,
    MAX_OBJECT_BYTES,
    StoredObject,
    changed,
    check_key,
    check_prefix,
    not_found,
    too_large,
)

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 30.0
_MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound", "404"})
_SHA256_KEY: Final = "x-amz-meta-sha256"
_BLOCK_BYTES: Final = 1024 * 1024


@contextmanager
def _outages(key: str = "") -> Iterator[None]:
    """Turns what the client raises into LikenessError."""
    try:
        yield
    except S3Error as error:
        if error.code in _MISSING:
            raise not_found(key) from error
        detail = f"The object store refused the request: {error.code}."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        detail = "The object store cannot be reached."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error


class S3Store:
    """Objects in a bucket. Implements `ObjectStore`.

    Args:
        cache_dir: where objects that were fetched as files are kept; None means the system's folder of temporary files.
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
    ) -> None:
        self.bucket = bucket
        self._cache = FileCache(cache_dir or Path(tempfile.gettempdir()) / "likeness-cache")
        retries = urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504])
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S), retries=retries, maxsize=16
        )
        self._client: Any = minio.Minio(
            endpoint,
            access_key=access_key or None,
            secret_key=secret_key or None,
            region=region,
            secure=secure,
            http_client=pool,
        )
        self._bucket_known = False

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        stored = StoredObject(check_key(key), hashlib.sha256(data).hexdigest(), len(data), content_type)
        with _outages(key):
            self._require_bucket()
            self._client.put_object(
                self.bucket,
                key,
                io.BytesIO(data),
                len(data),
                content_type=content_type,
                metadata={_SHA256_KEY: stored.sha256},
            )
        return stored

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        check_key(key)
        with _outages(key):
            self._require_bucket()
            response = self._client.get_object(self.bucket, key)
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
        with _outages(key):
            self._require_bucket()
            self._client.fput_object(self.bucket, key, str(path), content_type=content_type, metadata=metadata)
        return stored

    @contextmanager
    def fetch(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> Iterator[Path]:
        """Streams the object into the cache, unless its content lies there."""
        stored = self.head(key)
        if stored.size_bytes > max_bytes:
            raise too_large(key, stored.size_bytes, max_bytes)
        with ExitStack() as handed_out:
            with _outages(key):
                path = handed_out.enter_context(
                    self._cache.open(stored.sha256, lambda file: self._download(stored, file))
                )
            yield path

    def _download(self, stored: StoredObject, file: BinaryIO) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        with _outages(stored.key):
            response = self._client.get_object(self.bucket, stored.key)
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
        check_key(key)
        with _outages(key):
            self._require_bucket()
            state = self._client.stat_object(self.bucket, key)
        sha256 = (state.metadata or {}).get(_SHA256_KEY)
        if not sha256:  # written by somebody else
            sha256 = hashlib.sha256(self.get(key)).hexdigest()
        return StoredObject(key, sha256, int(state.size), state.content_type or DEFAULT_CONTENT_TYPE)

    def delete(self, key: str) -> None:
        check_key(key)
        with _outages(key):
            self._require_bucket()
            self._client.remove_object(self.bucket, key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Asks for each object's metadata on its own: one request per object."""
        check_prefix(prefix)
        with _outages():
            self._require_bucket()
            listed = self._client.list_objects(self.bucket, prefix=prefix, recursive=True)
            keys = sorted(item.object_name for item in listed)
        for key in keys:
            try:
                yield self.head(key)
            except LikenessError as error:
                if error.reason not in ("NOT_FOUND", "INVALID_FIELD"):  # deleted meanwhile; not written by us
                    raise

    def _require_bucket(self) -> None:
        if self._bucket_known:
            return
        if not self._client.bucket_exists(self.bucket):
            try:
                self._client.make_bucket(self.bucket)
            except S3Error as error:
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise
        self._bucket_known = True
