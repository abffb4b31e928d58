"""Uploads in parts into a folder: a folder of its own for each, where every part is a file until all are joined."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Protocol

from services.common.errors import LikenessError
from services.common.store import DEFAULT_CONTENT_TYPE, StoredPart, check_key, not_found

BLOCK_BYTES: Final = 1024 * 1024
_NUMBER_DIGITS: Final = 5
_ID: Final = re.compile(r"[0-9a-f]{32}")
_CONTENT_TYPE: Final = "content-type"


class _Put(Protocol):
    def __call__(self, key: str, content: BinaryIO, content_type: str) -> object: ...


@contextmanager
def _outages(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise not_found(key) from error
    except OSError as error:
        detail = f"The media folder failed while an upload was written: {error.strerror or error}."
        raise LikenessError("STORE_UNAVAILABLE", detail, retry_after_s=5.0) from error


class FolderParts:
    """Implements `PartStore`.

    Args:
        root: of the parts, on the file system of the objects.
        put: how a whole object is written.
    """

    def __init__(self, root: Path, put: _Put) -> None:
        self._root = root
        self._put = put

    def begin(self, key: str, content_type: str = DEFAULT_CONTENT_TYPE) -> str:
        check_key(key)
        upload_id = secrets.token_hex(16)
        with _outages(key):
            folder = self._root / upload_id
            folder.mkdir(parents=True)
            (folder / _CONTENT_TYPE).write_text(content_type)
        return upload_id

    def put(self, key: str, upload_id: str, number: int, content: IO[bytes], size_bytes: int) -> StoredPart:
        folder = self._folder(key, upload_id)
        digest, written = hashlib.sha256(), 0
        with _outages(key), tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            try:
                for block in file_blocks(content, size_bytes):
                    file.write(block)
                    digest.update(block)
                    written += len(block)
                file.flush()
                os.fsync(file.fileno())
                for old in self._files(folder, number):
                    old.unlink(missing_ok=True)
                os.replace(file.name, folder / f"{number:0{_NUMBER_DIGITS}d}-{digest.hexdigest()}")
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        return StoredPart(number, written, digest.hexdigest())

    def list(self, key: str, upload_id: str) -> list[StoredPart]:
        folder = self._folder(key, upload_id)
        found: dict[int, StoredPart] = {}
        with _outages(key):
            for path in sorted(folder.iterdir()):
                number, _, etag = path.name.partition("-")
                if number.isdigit():
                    with suppress(FileNotFoundError):  # replaced meanwhile
                        found[int(number)] = StoredPart(int(number), path.stat().st_size, etag)
        return list(found.values())

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        folder = self._folder(key, upload_id)
        with _outages(key):
            content_type = (folder / _CONTENT_TYPE).read_text()
            paths = [folder / f"{part.number:0{_NUMBER_DIGITS}d}-{part.etag}" for part in parts]
            joined = io.BufferedReader(_Joined(paths), BLOCK_BYTES)
            self._put(key, joined, content_type)
        self.abort(key, upload_id)

    def abort(self, key: str, upload_id: str) -> None:
        with suppress(LikenessError):
            shutil.rmtree(self._folder(key, upload_id), ignore_errors=True)

    def abort_older(self, before: datetime) -> int:
        count = 0
        for folder in self._root.glob("*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < before.timestamp():
                    shutil.rmtree(folder, ignore_errors=True)
                    count += 1
        return count

    def presigned_put(self, key: str, upload_id: str, number: int, expires_s: int) -> str | None:
        return None

    def _folder(self, key: str, upload_id: str) -> Path:
        check_key(key)
        folder = self._root / upload_id
        if not _ID.fullmatch(upload_id) or not folder.is_dir():
            raise not_found(key)
        return folder

    @staticmethod
    def _files(folder: Path, number: int) -> Iterator[Path]:
        return folder.glob(f"{number:0{_NUMBER_DIGITS}d}-*")


def file_blocks(file: IO[bytes], count: int | None) -> Iterator[bytes]:
    """At most `count` bytes from where the file stands, in blocks."""
    while count is None or count > 0:
        block = file.read(BLOCK_BYTES if count is None else min(count, BLOCK_BYTES))
        if not block:
            return
        count = None if count is None else count - len(block)
        yield block


class _Joined(io.RawIOBase):
    """Files end to end, one open at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = iter(paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._file is None:
                path = next(self._left, None)
                if path is None:
                    return 0
                self._file = path.open("rb", buffering=0)
            count = self._file.readinto(buffer) or 0  # type: ignore[attr-defined]
            if count:
                return int(count)
            self._file.close()
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
