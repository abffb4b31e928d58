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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from services.common.errors import LikenessError
from services.common.models import file_sha256
from services.common.store import (
    DEFAULT_CONTENT_TYPE,
    MAX_OBJECT_BYTES,
    ListedObject,
    StoredObject,
    check_key,
    check_prefix,
    not_found,
    require_prefix,
    too_large,
)
from services.common.store_folder_parts import BLOCK_BYTES, FolderParts, file_blocks

_META: Final = ".meta"  # no key can begin with a dot
_TEMPORARY: Final = ".tmp"
_PARTS: Final = ".parts"
_ATTEMPTS: Final = 20  # at writing into a folder that somebody else removes because it was empty


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
        self.parts = FolderParts(root / _PARTS, self._put)

    def put(self, key: str, data: bytes, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        return self._put(key, io.BytesIO(data), content_type)

    def put_file(self, key: str, path: Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        with path.open("rb") as content:
            return self._put(key, content, content_type)

    def put_once(self, key: str, content: bytes | Path, content_type: str = DEFAULT_CONTENT_TYPE) -> StoredObject:
        if not self.exists(key):
            with ExitStack() as opened:
                file = io.BytesIO(content) if isinstance(content, bytes) else opened.enter_context(content.open("rb"))
                return self._put(key, file, content_type, replace=False)
        return self.head(key)

    def copy(self, source: str, key: str, *, sha256: str, content_type: str) -> StoredObject:
        with self.fetch(source) as held:
            path = self.root / check_key(key)
            with _outages("copying"):
                _into_place(lambda: os.replace(held, path), path)
                state = path.stat()
                self._describe(key, sha256, content_type, state)
        return StoredObject(key, sha256, state.st_size, content_type)

    def _put(self, key: str, content: BinaryIO, content_type: str, *, replace: bool = True) -> StoredObject:
        path = self.root / check_key(key)
        with _outages("writing"):
            try:
                state, sha256 = self._write(path, content, replace=replace)
            except FileExistsError:
                return self.head(key)
            self._describe(key, sha256, content_type, state)
        return StoredObject(key, sha256, state.st_size, content_type)

    def _describe(self, key: str, sha256: str, content_type: str, state: os.stat_result) -> None:
        described = {
            "sha256": sha256,
            "content_type": content_type,
            "state": (state.st_ino, state.st_size, state.st_mtime_ns),
        }
        self._write(self._meta_path(key), io.BytesIO(json.dumps(described).encode()))

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

    @contextmanager
    def read(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes]]:
        path = self.root / check_key(key)
        with _outages("reading"), ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise not_found(key) from None
            file.seek(start)
            yield file_blocks(file, None if stop is None else stop - start)

    def exists(self, key: str) -> bool:
        path = self.root / check_key(key)
        with _outages("reading"):
            return path.is_file()

    def delete(self, key: str) -> None:
        path = self.root / check_key(key)
        with _outages("deleting"):
            try:
                path.unlink(missing_ok=True)
                self._meta_path(key).unlink(missing_ok=True)
            except (NotADirectoryError, IsADirectoryError):
                return  # a longer or a shorter key: this one holds nothing

    def delete_prefix(self, prefix: str) -> int:
        """Removes the folders as well that this leaves empty."""
        keys = [listed.key for listed in self.keys(require_prefix(prefix))]
        for key in keys:
            self.delete(key)
        for key in keys:
            for parent in (self.root / key, self._meta_path(key)):
                _remove_empty(parent.parent, prefix, parent.parents[key.count("/")])
        return len(keys)

    def keys(self, prefix: str = "") -> Iterator[ListedObject]:
        folder = self.root / check_prefix(prefix).rpartition("/")[0]
        found = []
        with _outages("listing"):
            for path in _files(folder):
                key = path.relative_to(self.root).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        state = path.stat()
                        modified_at = datetime.fromtimestamp(state.st_mtime, UTC)
                        found.append(ListedObject(key, state.st_size, modified_at))
        yield from sorted(found, key=lambda listed: listed.key)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for listed in self.keys(prefix):
            try:
                yield self.head(listed.key)
            except LikenessError as error:
                if error.reason != "NOT_FOUND":  # deleted meanwhile
                    raise

    def presigned_get(self, key: str, expires_s: int, *, content_type: str, disposition: str) -> str | None:
        return None

    def _meta_path(self, key: str) -> Path:
        return self.root / _META / f"{key}.json"

    def _read_meta(self, key: str) -> dict[str, object]:
        try:
            meta = json.loads(self._meta_path(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return meta if isinstance(meta, dict) else {}

    def _write(self, path: Path, content: BinaryIO, *, replace: bool = True) -> tuple[os.stat_result, str]:
        """Writes through a temporary file and a rename; returns the state of the file, and the hash.

        Raises FileExistsError when it is not to replace what is there.
        """
        temporary_dir = self.root / _TEMPORARY
        temporary_dir.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=temporary_dir)
        try:
            with os.fdopen(handle, "wb") as file:
                digest = hashlib.sha256()
                while block := content.read(BLOCK_BYTES):
                    file.write(block)
                    digest.update(block)
                file.flush()
                os.fsync(file.fileno())
                state = os.fstat(file.fileno())
            if replace:
                _into_place(lambda: os.replace(name, path), path)
            else:
                _into_place(lambda: os.link(name, path), path)
        finally:
            Path(name).unlink(missing_ok=True)
        return state, digest.hexdigest()


def _into_place(act: Callable[[], None], path: Path) -> None:
    """Does what gives a file its name, in a folder that is made when it is not there."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            act()
            return
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            if isinstance(error, FileExistsError) and path.is_file():
                raise
            if path.is_dir() or any(parent.is_file() for parent in path.parents):
                detail = f"{path.name!r}: in a folder, an object cannot lie below another object or above it."
                raise LikenessError("INVALID_FIELD", detail, field="key") from error
            if attempt == _ATTEMPTS:
                raise


def _remove_empty(folder: Path, prefix: str, root: Path) -> None:
    """Removes folders from `folder` upwards as long as they are empty and lie within the prefix."""
    while folder != root and f"{folder.relative_to(root).as_posix()}/".startswith(prefix):
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            return
        folder = folder.parent


def _files(folder: Path) -> Iterator[Path]:
    """All files below, except in folders that no key names; folders may be removed meanwhile."""

    def failed(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise error

    for root, folders, names in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names)
