"""Large files: sent in parts, several at a time, and gone on with where an earlier attempt was interrupted."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from likeness._errors import LikenessAPIError, LikenessClientError, LikenessConnectionError
from likeness._resources import Collection
from likeness._types import _FromJson

PARTS_AT_ONCE: Final = 4
ROUNDS_WITHOUT_PROGRESS: Final = 5
FIRST_PAUSE_S: Final = 0.5
BLOCK_BYTES: Final = 256 * 1024
_PASSING: Final = (403, 408, 429, 500, 502, 503, 504)  # 403: the part's URL has expired; the next round has a new one
OnBytes = Callable[[int], object]


@dataclass(frozen=True)
class Upload(_FromJson):
    """A large file on its way, or arrived: then `media` is its id."""

    id: str
    status: str  # open | completing | completed | aborted | expired
    file_name: str
    size_bytes: int
    created_at: int  # Unix seconds
    expires_at: str
    purpose: str
    received_bytes: int = 0
    sha256: str | None = None
    media: str | None = None


class Uploads(Collection):
    """`client.uploads`."""

    def send(
        self,
        file: str | Path,
        *,
        purpose: str = "swap_target",
        resume: bool = True,
        on_hashed: OnBytes = lambda _: None,
        on_sent: OnBytes = lambda _: None,
    ) -> Upload:
        """Uploads a file of any size; the result's `media` is its id.

        An upload of the same file that was interrupted is gone on with. Parts that fail are sent again as long as
        others arrive.

        Args:
            purpose: swap_target, voice_sample, face_picture or batch_input.
            resume: whether to look for an interrupted upload.
            on_hashed: told how many bytes were read since it was told last, before anything is sent.
            on_sent: the same of bytes that were sent, or are there already; negative when a part has to go again.

        Raises:
            LikenessAPIError: the server refuses the file.
            LikenessConnectionError: nothing arrives any more.
        """
        path = Path(file)
        sha256 = _hash(path, on_hashed)
        order = {"file_name": path.name, "size_bytes": path.stat().st_size, "sha256": sha256, "purpose": purpose}
        found = self._interrupted(order) if resume else None
        upload = found or self._transport.json("POST", self._path, json=order)
        on_sent(upload["received_bytes"])
        self._send_parts(upload, path, on_sent)
        return self.complete(upload["id"])

    def list(self) -> list[Upload]:
        return [Upload.from_json(item) for item in self._pages()]

    def get(self, upload_id: str) -> Upload:
        return Upload.from_json(self._get(upload_id))

    def complete(self, upload_id: str) -> Upload:
        return Upload.from_json(self._transport.json("POST", f"{self._path}/{upload_id}/complete"))

    def abort(self, upload_id: str) -> Upload:
        """Deletes what has arrived; a completed upload stays as it is."""
        return Upload.from_json(self._transport.json("DELETE", f"{self._path}/{upload_id}"))

    def _interrupted(self, order: dict[str, Any]) -> dict[str, Any] | None:
        for item in self._pages():
            if item["status"] == "open" and all(item.get(name) == value for name, value in order.items()):
                return self._get(item["id"])
        return None

    def _send_parts(self, upload: dict[str, Any], path: Path, on_sent: OnBytes) -> None:
        """Rounds: all missing parts are sent, then the server says which are missing still."""
        fruitless = 0
        while missing := [part for part in upload["parts"] if not part["received"]]:
            failure = self._send_round(missing, upload["part_size_bytes"], path, on_sent)
            upload = self._get(upload["id"])
            left = sum(not part["received"] for part in upload["parts"])
            fruitless = fruitless + 1 if left == len(missing) else 0
            if left and fruitless >= ROUNDS_WITHOUT_PROGRESS:
                raise failure or LikenessConnectionError("The parts that are sent do not arrive at the object store.")
            if left:
                time.sleep(FIRST_PAUSE_S * 2**fruitless)

    def _send_round(
        self, missing: Sequence[dict[str, Any]], part_size_bytes: int, path: Path, on_sent: OnBytes
    ) -> LikenessClientError | None:
        """The last failure that may pass; one that will not is raised."""
        passing: list[LikenessClientError] = []
        lock = threading.Lock()

        def told(count: int) -> None:
            with lock:
                on_sent(count)

        def send(part: dict[str, Any]) -> None:
            piece = _Piece(path, (part["number"] - 1) * part_size_bytes, part["size_bytes"], told)
            try:
                self._transport.put_elsewhere(part["url"], piece, part["size_bytes"])
            except LikenessClientError as error:
                told(-piece.sent)
                if isinstance(error, LikenessAPIError) and error.status not in _PASSING:
                    raise
                passing.append(error)

        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
            futures = [pool.submit(send, part) for part in missing]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
        return passing[-1] if passing else None


class _Piece:
    """A stretch of a file, in blocks."""

    def __init__(self, path: Path, start: int, size_bytes: int, on_sent: OnBytes) -> None:
        self._path = path
        self._start = start
        self._left = size_bytes
        self._on_sent = on_sent
        self.sent = 0

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._start)
            while self._left > 0 and (block := file.read(min(BLOCK_BYTES, self._left))):
                self._left -= len(block)
                yield block
                self.sent += len(block)
                self._on_sent(len(block))


def _hash(path: Path, on_hashed: OnBytes) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            on_hashed(len(block))
    return digest.hexdigest()
