"""The object store: where media lie. A folder on one machine, any S3 endpoint on a cluster; same contract.

Keys are paths of harmless names (`voices/3f2a/reference.wav`). An object appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final, Protocol
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


@dataclass(frozen=True)
class ListedObject:
    """What a listing tells of an object without looking into it."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True)
class StoredPart:
    """A part of an upload in parts, numbered from 1; `etag` is the store's own name of its content."""

    number: int
    size_bytes: int
    etag: str


class PartStore(Protocol):
    """Objects that arrive in parts, in any order, any part again: S3's multipart uploads. Raises as `ObjectStore`."""

    def begin(self, key: str, content_type: str = DEFAULT_CONTENT_TYPE) -> str:
        """Opens an upload; its id."""
        ...

    def put(self, key: str, upload_id: str, number: int, content: IO[bytes], size_bytes: int) -> StoredPart:
        """Writes a part, replacing one of that number. Raises NOT_FOUND when there is no such upload."""
        ...

    def list(self, key: str, upload_id: str) -> list[StoredPart]:
        """The parts that are here, by number. Raises NOT_FOUND when there is no such upload."""
        ...

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """Makes the object of its parts. Raises NOT_FOUND when there is no such upload (any more)."""
        ...

    def abort(self, key: str, upload_id: str) -> None:
        """Forgets an upload and its parts; without effect when there is none."""
        ...

    def abort_older(self, before: datetime) -> int:
        """Forgets uploads that were opened earlier than that; how many."""
        ...

    def presigned_put(self, key: str, upload_id: str, number: int, expires_s: int) -> str | None:
        """A URL to which a part can be sent without credentials; None where the store has no server of its own."""
        ...


class ObjectStore(Protocol):
    """What folder and S3 have in common. Every method raises LikenessError: STORE_UNAVAILABLE when the store cannot
    be reached (S3: after a bounded number of attempts), INVALID_FIELD for a malformed key."""

    bucket: str

    @property
    def parts(self) -> PartStore:
        """Uploads in parts."""
        ...

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        """Writes an object, replacing what had the key."""
        ...

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """Reads an object. Raises NOT_FOUND, or MEDIA_TOO_LARGE when it has more than `max_bytes`."""
        ...

    def put_file(self, key: str, path: Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        """Writes an object from a file, of any size, without holding it in memory."""
        ...

    def put_once(self, key: str, content: bytes | Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        """Writes bytes, or a file, unless the key has something already, which is kept and described.

        For keys that tell the content: whoever makes the same again finds it there, and of several that write at the
        same time one wins (a conditional write, where the endpoint has it).
        """
        ...

    def copy(self, source: str, key: str, *, sha256: str, content_type: str) -> StoredObject:
        """Gives an object a second key, inside of the store. `sha256` is that of the content, which is not read.

        Raises NOT_FOUND.
        """
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes from `start` to before `stop` (the end) in blocks; no other bytes are fetched. Raises NOT_FOUND."""
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

    def exists(self, key: str) -> bool:
        """Whether the key has an object."""
        ...

    def delete(self, key: str) -> None:
        """Removes an object; removing what is not there is no error."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Removes all objects whose key begins with `prefix`, which must not be empty; how many."""
        ...

    def keys(self, prefix: str = "") -> Iterator[ListedObject]:
        """The same objects as `list`, in order, without asking for each of them."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key begins with `prefix`, in order of their keys."""
        ...

    def presigned_get(self, key: str, expires_s: int, *, content_type: str, disposition: str) -> str | None:
        """A URL by which the object can be read without credentials; None where the store has no server of its own.

        Args:
            expires_s: seconds until it no longer works.
            content_type, disposition: headers of the answer.
        """
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


def require_prefix(prefix: str) -> str:
    """The prefix of what is to be deleted. Raises ValueError for an empty one, which would be everything."""
    if not prefix:
        raise ValueError("a prefix is needed")
    return check_prefix(prefix)


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
            encryption=settings.store_encryption,
            kms_key_id=settings.store_kms_key_id,
            public_url=settings.store_public_url if settings.store_presign else None,
        )
    raise ValueError(f"LIKENESS_STORE_URL: expected a folder or s3://host:port, got {settings.store_url!r}")
