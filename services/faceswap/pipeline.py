"""Three things at once: pictures are decoded in one thread, worked on in the caller's, finished in a third.

Between them lie short queues: who is ahead waits, and memory stays the same however long the film is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Final

from services.common.errors import LikenessError
from services.common.film.frames import FilmFrame

QUEUE_FRAMES: Final = 6
POLL_S: Final = 0.1


class Pipeline:
    """Runs a reader and a writer beside the caller. A context manager: left without an exception, all is written.

    Args:
        source: the pictures; used by one thread only.
        sink: takes a finished picture; used by another thread only.
        is_cancelled: asked several times a second by the caller's thread.

    Attributes:
        decode_s, encode_s: processor time of the two threads.
    """

    def __init__(
        self,
        source: Iterator[FilmFrame],
        sink: Callable[[FilmFrame], None],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source, self._sink, self._is_cancelled = source, sink, is_cancelled
        self._decoded: Queue[FilmFrame | None] = Queue(QUEUE_FRAMES)
        self._finished: Queue[FilmFrame | None] = Queue(QUEUE_FRAMES)
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name)
            for work, name in ((self._decode, "decode"), (self._encode, "encode"))
        ]
        self.decode_s = self.encode_s = 0.0

    def __enter__(self) -> Pipeline:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for both threads. Raises what failed in them."""
        try:
            if kind is None:
                self._put(self._finished, None)
                while self._threads[1].is_alive():
                    self._check()
                    self._threads[1].join(POLL_S)
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        if kind is None:
            self._check()

    def frames(self) -> Iterator[FilmFrame]:
        """The decoded pictures. Raises LikenessError CANCELLED, or what failed in another thread."""
        while (frame := self._get(self._decoded)) is not None:
            yield frame

    def write(self, frame: FilmFrame) -> None:
        """Hands a finished picture on; waits while the encoder is behind."""
        self._put(self._finished, frame)

    def _check(self) -> None:
        if self._failures:
            raise self._failures[0]
        if self._is_cancelled():
            raise LikenessError("CANCELLED", "The work on the film was called off.")

    def _get(self, queue: Queue[FilmFrame | None]) -> FilmFrame | None:
        while True:
            self._check()
            try:
                return queue.get(timeout=POLL_S)
            except Empty:
                continue

    def _put(self, queue: Queue[FilmFrame | None], frame: FilmFrame | None) -> None:
        while True:
            self._check()
            try:
                return queue.put(frame, timeout=POLL_S)
            except Full:
                continue

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failures.append(error)

    def _decode(self) -> None:
        try:
            for frame in self._source:
                if not self._hand_on(frame):
                    return
                self.decode_s = time.thread_time()
            self._hand_on(None)
        finally:
            if close := getattr(self._source, "close", None):
                close()

    def _hand_on(self, frame: FilmFrame | None) -> bool:
        """False when nobody waits for it any more."""
        while not self._stop.is_set():
            try:
                self._decoded.put(frame, timeout=POLL_S)
                return True
            except Full:
                continue
        return False

    def _encode(self) -> None:
        while not self._stop.is_set():
            try:
                frame = self._finished.get(timeout=POLL_S)
            except Empty:
                continue
            if frame is None:
                return
            self._sink(frame)
            self.encode_s = time.thread_time()
