"""The object store as a folder: every object is a plain file under its key.

Size, hash and content type are kept under `.meta`, together with the state of the file they describe. Where the two
do not agree (a process died between the two renames, or somebody edited the file), the file is the truth and its
hash is taken anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import mimetypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from services.common.errors import LikenessError
from services.common.models import file_sha256
from services.common.store import (
    DEFAULT_CONTENT_TYPE,
    MAX_OBJECT_BYTES,
    StoredObject,
    check_key,
    check_prefix,
    not_found,
    too_large,
)

_META: Final = ".meta"  # no key can begin with a dot
_TEMPORARY: Final = ".tmp"
_BLOCK_BYTES: Final = 1024 * 1024


@contextmanager
def _outages(action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        detail = f"The media folder failed while {action}: {error.strerror or error}."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error


class FolderStore:
    """Objects in a folder. Safe for any number of processes on one machine. Implements `ObjectStore`."""

    def __init__(self, root: Path, *, bucket: str = "likeness") -> None:
        self.root = root
        self.bucket = bucket

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        return self._put(key, io.BytesIO(data), content_type)

    def put_file(self, key: str, path: Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        with path.open("rb") as content:
            return self._put(key, content, content_type)

    def _put(self, key: str, content: BinaryIO, content_type: str) -> StoredObject:
        path = self.root / check_key(key)
        with _outages("writing"):
            state, sha256 = self._write(path, content)
            described = {"sha256": sha256, "content_type": content_type, "state": state}
            self._write(self._meta_path(key), io.BytesIO(json.dumps(described).encode()))
        return StoredObject(key, sha256, state[1], content_type)

    def get(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        path = self.root / check_key(key)
        with _outages("reading"):
            try:
                with path.open("rb") as file:
                    size_bytes = os.fstat(file.fileno()).st_size
                    if size_bytes > max_bytes:
                        raise too_large(key, size_bytes, max_bytes)
                    return file.read()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise not_found(key) from None

    @contextmanager
    def fetch(self, key: str, max_bytes: int = MAX_OBJECT_BYTES) -> Iterator[Path]:
        """The object's own file under a second name, so that replacing or deleting the object does not touch it."""
        path = self.root / check_key(key)
        with _outages("reading"):
            temporary_dir = self.root / _TEMPORARY
            temporary_dir.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=temporary_dir))
            held = folder / path.name
            try:
                os.link(path, held)
                if not held.is_file():
                    raise FileNotFoundError
                size_bytes = held.stat().st_size
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
                shutil.rmtree(folder, ignore_errors=True)
                if isinstance(error, PermissionError) and path.is_file():
                    raise
                raise not_found(key) from None
        try:
            if size_bytes > max_bytes:
                raise too_large(key, size_bytes, max_bytes)
            yield held
        finally:
            with suppress(OSError):
                shutil.rmtree(folder)

    def head(self, key: str) -> StoredObject:
        path = self.root / check_key(key)
        with _outages("reading"):
            try:
                if not path.is_file():
                    raise not_found(key)
                state = path.stat()
                meta = self._read_meta(key)
                content_type = meta.get("content_type") or mimetypes.guess_type(key)[0] or DEFAULT_CONTENT_TYPE
                known = meta.get("state") == [state.st_ino, state.st_size, state.st_mtime_ns]
                sha256 = meta["sha256"] if known else file_sha256(path)
            except FileNotFoundError:
                raise not_found(key) from None
        return StoredObject(key, str(sha256), state.st_size, str(content_type))

    def delete(self, key: str) -> None:
        path = self.root / check_key(key)
        with _outages("deleting"):
            try:
                path.unlink(missing_ok=True)
                self._meta_path(key).unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):
                return  # a longer or a shorter key: this one holds nothing

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = self.root / check_prefix(prefix).rpartition("/")[0]
        with _outages("listing"):
            keys = [path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file()]
        for key in sorted(key for key in keys if key.startswith(prefix) and not key.startswith(".")):
            try:
                yield self.head(key)
            except LikenessError as error:
                if error.reason != "NOT_FOUND":  # deleted meanwhile
                    raise

    def free_bytes(self) -> int:
        """Space left on the disk of the folder."""
        with _outages("asking for free space"):
            self.root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.root).free

    def _meta_path(self, key: str) -> Path:
        return self.root / _META / f"{key}.json"

    def _read_meta(self, key: str) -> dict[str, object]:
        try:
            meta = json.loads(self._meta_path(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return meta if isinstance(meta, dict) else {}

    def _write(self, path: Path, content: BinaryIO) -> tuple[tuple[int, int, int], str]:
        """Writes through a temporary file and a rename; returns inode, size and time of change, and the hash."""
        temporary_dir = self.root / _TEMPORARY
        temporary_dir.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=temporary_dir)
        try:
            with os.fdopen(handle, "wb") as file:
                digest = hashlib.sha256()
                while block := content.read(_BLOCK_BYTES):
                    file.write(block)
                    digest.update(block)
                file.flush()
                os.fsync(file.fileno())
                state = os.fstat(file.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(name, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            Path(name).unlink(missing_ok=True)
            detail = f"{path.name!r}: in a folder, an object cannot lie below another object or above it."
            raise LikenessError("INVALID_FIELD", detail, field="key") from error
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return (state.st_ino, state.st_size, state.st_mtime_ns), digest.hexdigest()
