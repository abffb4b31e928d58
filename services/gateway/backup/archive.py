"""The file of a backup: what lies where in it, and that it is whole."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final

FORMAT: Final = 1
HEADER: Final = "likeness-backup.json"
MANIFEST: Final = "manifest.json"
OBJECTS: Final = "objects/"
TABLES: Final = "tables/"
BLOCK_BYTES: Final = 1024 * 1024
OnProgress = Callable[[int], object]  # is told how many bytes were read or written since it was told last


class BackupError(Exception):
    """The backup cannot be written or restored; the message says why, and what to do."""


class HashedFile(io.RawIOBase):
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes], on_progress: OnProgress = lambda _: None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._on_progress = on_progress
        self.size_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self.size_bytes += len(data)
        self._on_progress(len(data))
        return data

    @property
    def summary(self) -> dict[str, Any]:
        return {"sha256": self._digest.hexdigest(), "size_bytes": self.size_bytes}


class ArchiveWriter:
    """Adds members, and at last the manifest."""

    def __init__(self, tar: tarfile.TarFile, on_progress: OnProgress) -> None:
        self._tar = tar
        self._on_progress = on_progress
        self._manifest: dict[str, dict[str, Any]] = {}

    def add(self, name: str, file: IO[bytes], size_bytes: int) -> dict[str, Any]:
        """Copies so many bytes of a file; their sum, as the manifest has it."""
        member = tarfile.TarInfo(name)
        member.size = size_bytes
        member.mode = 0o600
        hashed = HashedFile(file, self._on_progress)
        self._tar.addfile(member, hashed)
        self._manifest[name] = hashed.summary
        return hashed.summary

    def add_json(self, name: str, value: Any) -> None:
        data = json.dumps(value, indent=1).encode()
        self.add(name, io.BytesIO(data), len(data))

    def finish(self) -> None:
        self.add_json(MANIFEST, self._manifest)


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Every member of a backup with its content, to be read before the next. Raises BackupError for another file."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise BackupError(f"{path} has {member.name!r}, which is no file: it is no backup of Likeness.")
                yield member.name, content
    except tarfile.TarError as error:
        raise BackupError(f"{path} cannot be read as a backup: {error}.") from error
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_archive(path: Path, on_progress: OnProgress = lambda _: None) -> dict[str, Any]:
    """Reads all of a backup and compares it with its manifest; the header.

    Raises:
        BackupError: it is damaged, incomplete, or of another version.
    """
    try:
        found, told = _read_all(path, on_progress)
    except (tarfile.TarError, ValueError) as error:
        raise BackupError(f"{path} is damaged, or not whole: {error}.") from error
    header, manifest = told.get(HEADER), told.get(MANIFEST)
    found.pop(MANIFEST, None)
    if header is None or manifest is None:
        raise BackupError(f"{path} is no whole backup of Likeness: it ends before its manifest.")
    if header.get("format") != FORMAT:
        raise BackupError(f"{path} has the format {header.get('format')}; this version reads {FORMAT}.")
    wrong = sorted(name for name in found.keys() | manifest.keys() if found.get(name) != manifest.get(name))
    if wrong:
        shown = ", ".join(wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        raise BackupError(f"{path} is damaged: {len(wrong)} of its files are not what its manifest says: {shown}.")
    return header


def _read_all(path: Path, on_progress: OnProgress) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Sums of all members, and what header and manifest say."""
    found: dict[str, dict[str, Any]] = {}
    told: dict[str, dict[str, Any]] = {}
    for name, content in members(path):
        if name in found:
            raise BackupError(f"{path} has {name!r} twice.")
        hashed = HashedFile(content, on_progress)
        if name in (HEADER, MANIFEST):
            told[name] = json.loads(hashed.read())
        else:
            while hashed.read(BLOCK_BYTES):
                pass
        found[name] = hashed.summary
    return found, told
