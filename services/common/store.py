"""The object store: where media lie. A folder on one machine, any S3 endpoint on a cluster; same contract.

Keys are paths of harmless names (`voices/3f2a/reference.wav`). An object appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from likeness.v1 import types_pb2
from services.common.errors import LikenessError
from services.common.settings import CommonSettings

DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"
MAX_OBJECT_BYTES: Final = 2 * 1024**3
MAX_KEY_CHARACTERS: Final = 512
_SEGMENT: Final = r"[A-Za-z0-9_][A-Za-z0-9._=@+-]{0,127}"
_KEY: Final = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")
_PREFIX: Final = re.compile(rf"(({_SEGMENT}/)*({_SEGMENT})?)?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredObject:
    """What the store knows about an object; `sha256` is lower-case hexadecimal."""

    key: str
    sha256: str
    size_bytes: int
    content_type: str


class ObjectStore(Protocol):
    """What folder and S3 have in common. Every method raises LikenessError: STORE_UNAVAILABLE when the store cannot
    be reached, INVALID_FIELD for a malformed key."""

    bucket: str

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        """Writes an object, replacing what had the key."""
        ...

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Reads an object. Raises NOT_FOUND, or MEDIA_TOO_LARGE when it has more than `max_bytes`."""
        ...

    def put_file(self, key: str, path: Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        """Writes an object from a file, of any size, without holding it in memory."""
        ...

    def fetch(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> AbstractContextManager[Path]:
        """The object as a local file, which holds what it held now until the context ends. Not to be written to.

        Raises NOT_FOUND, MEDIA_TOO_LARGE when it has more than `max_bytes`, or MEDIA_CHECKSUM_MISMATCH when its content
        is not what its SHA-256 says.
        """
        ...

    def head(self, key: str) -> StoredObject:
        """Describes an object. Raises NOT_FOUND."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; removing what is not there is no error."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key begins with `prefix`, in order of their keys."""
        ...


def check_key(key: str) -> str:
    """Returns the key. Raises LikenessError INVALID_FIELD unless it is a relative path of harmless names."""
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise LikenessError(
            "INVALID_FIELD",
            f"{key[:80]!r} is no object key: expected names of letters, digits and ._=@+- separated by slashes, "
            f"none beginning with a dot, at most {MAX_KEY_CHARACTERS} characters.",
            field="key",
        )
    return key


def check_prefix(prefix: str) -> str:
    """Returns the prefix of keys, which may end inside a name or with a slash, or be empty."""
    if len(prefix) > MAX_KEY_CHARACTERS or not _PREFIX.fullmatch(prefix):
        raise LikenessError("INVALID_FIELD", f"{prefix[:80]!r} is no beginning of an object key.", field="prefix")
    return prefix


def not_found(key: str) -> LikenessError:
    return LikenessError("NOT_FOUND", f"There is no stored object {key!r}.", field="key")


def too_large(key: str, size_bytes: int, max_bytes: int) -> LikenessError:
    detail = f"The stored object {key!r} has {size_bytes} bytes; at most {max_bytes} are accepted."
    return LikenessError("MEDIA_TOO_LARGE", detail, field="key")


def changed(key: str, field: str = "key") -> LikenessError:
    detail = f"The stored object {key!r} is not what it was when the request was made; upload it again."
    return LikenessError("MEDIA_CHECKSUM_MISMATCH", detail, field=field)


def media_reference(store: ObjectStore, stored: StoredObject) -> types_pb2.MediaReference:
    """The message by which a stage is told of a stored object."""
    return types_pb2.MediaReference(
        bucket=store.bucket,
        key=stored.key,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        content_type=stored.content_type,
    )


def read_reference(
    store: ObjectStore, reference: types_pb2.MediaReference, max_bytes: int, *, field: str = "media"
) -> bytes:
    """Reads what a reference names and checks that it is still the same content.

    Raises:
        LikenessError: INVALID_FIELD for a malformed reference, NOT_FOUND, MEDIA_TOO_LARGE, STORE_UNAVAILABLE, or
            MEDIA_CHECKSUM_MISMATCH when size or SHA-256 are not those of the reference.
    """
    _check_reference(store, reference, max_bytes, field)
    data = store.get(reference.key, max_bytes)
    if len(data) != reference.size_bytes or hashlib.sha256(data).hexdigest() != reference.sha256:
        raise changed(reference.key, field)
    return data


@contextmanager
def fetch_reference(
    store: ObjectStore, reference: types_pb2.MediaReference, max_bytes: int = MAX_OBJECT_BYTES, *, field: str = "media"
) -> Iterator[Path]:
    """What a reference names, as a local file for the time of the context; the folder store makes no copy.

    Raises:
        LikenessError: as `read_reference` does.
    """
    _check_reference(store, reference, max_bytes, field)
    stored = store.head(reference.key)
    if (stored.size_bytes, stored.sha256) != (reference.size_bytes, reference.sha256):
        raise changed(reference.key, field)
    with store.fetch(reference.key, max_bytes) as path:
        yield path


def _check_reference(store: ObjectStore, reference: types_pb2.MediaReference, max_bytes: int, field: str) -> None:
    if reference.bucket and reference.bucket != store.bucket:
        detail = f"{field}.bucket: this server reads from {store.bucket!r}, not from {reference.bucket!r}."
        raise LikenessError("INVALID_FIELD", detail, field=f"{field}.bucket")
    if not _SHA256.fullmatch(reference.sha256):
        detail = f"{field}.sha256: expected 64 lower-case hexadecimal digits."
        raise LikenessError("INVALID_FIELD", detail, field=f"{field}.sha256")
    if reference.size_bytes > max_bytes:
        raise too_large(reference.key, reference.size_bytes, max_bytes)


def open_store(settings: CommonSettings) -> ObjectStore:
    """The store that `LIKENESS_STORE_URL` names: empty for the data folder, a path, or s3://host:port.

    Raises:
        ValueError: another kind of URL.
    """
    url = urlsplit(settings.store_url)
    if url.scheme in ("", "file"):
        from services.common.store_folder import FolderStore  # imports this module

        root = Path(url.path) if url.path else settings.data_dir / "objects"
        return FolderStore(root, bucket=settings.store_bucket)
    if url.scheme == "s3" and url.netloc:
        from services.common.store_s3 import S3Store  # imports this module; loads the client only where it is used

        return S3Store(
            url.netloc,
            bucket=settings.store_bucket,
            access_key=settings.store_access_key,
            secret_key=settings.store_secret_key,
            region=settings.store_region,
            secure=settings.store_secure,
            cache_dir=settings.data_dir / "cache",
        )
    raise ValueError(f"LIKENESS_STORE_URL: expected a folder or s3://host:port, got {settings.store_url!r}")
