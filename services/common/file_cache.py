"""Objects of a remote store as local files: fetched once, kept under their SHA-256; the longest unused go first."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

DEFAULT_CACHE_BYTES: Final = 8 * 1024**3


class FileCache:
    """A folder of files named by content. Any number of processes may share it.

    A file that is handed out gets a second name of its own for that time, so that making room never takes it away.

    Args:
        root: the folder; made when first needed.
        max_bytes: what the files together may take; the one that is fetched last is kept even when larger.
    """

    def __init__(self, root: Path, *, max_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.root = root
        self.max_bytes = max_bytes
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()

    @contextmanager
    def open(self, sha256: str, download: Callable[[BinaryIO], None]) -> Iterator[Path]:
        """The file of that content for the time of the context.

        Args:
            download: writes the content; raises when it is not what `sha256` says. Called only when it is not here.
        """
        with self._lock_of(sha256):
            handed_out = self._link(sha256)
            if handed_out is None:
                self._fetch(sha256, download)
                handed_out = self._link(sha256)
        if handed_out is None:
            raise OSError(f"{self.root} loses its files while they are used")
        try:
            yield handed_out
        finally:
            handed_out.unlink(missing_ok=True)

    def _lock_of(self, sha256: str) -> threading.Lock:
        """One lock for each content that was ever asked for: a few bytes per film."""
        with self._locks_lock:
            return self._locks.setdefault(sha256, threading.Lock())

    def _link(self, sha256: str) -> Path | None:
        kept = self.root / sha256
        name = tempfile.mktemp(prefix=f"use-{sha256[:12]}-", dir=self.root)  # noqa: S306 - os.link refuses an existing name
        try:
            os.link(kept, name)
            os.utime(kept)  # used now
        except FileNotFoundError:
            with suppress(FileNotFoundError):
                os.unlink(name)
            return None
        return Path(name)

    def _fetch(self, sha256: str, download: Callable[[BinaryIO], None]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="get-", dir=self.root)
        try:
            with os.fdopen(handle, "wb") as file:
                download(file)
            os.replace(name, self.root / sha256)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._make_room(sha256)

    def _make_room(self, newest: str) -> None:
        kept = []
        for path in self.root.iterdir():
            if "-" not in path.name:  # neither being fetched nor handed out
                with suppress(FileNotFoundError):
                    state = path.stat()
                    kept.append((path.name == newest, state.st_mtime_ns, state.st_size, path))
        total = sum(size for _, _, size, _ in kept)
        for is_newest, _, size, path in sorted(kept):
            if total <= self.max_bytes or is_newest:
                break
            path.unlink(missing_ok=True)
            total -= size
