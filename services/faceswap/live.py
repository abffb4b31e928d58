"""A live swap without its wire: an answer for every frame, the newest frame next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from services.common.decode_picture import decode_picture, encode_picture
from services.common.errors import LikenessError
from services.faceswap.detector import Picture
from services.faceswap.live_queue import LatestQueue, LiveFrame

Outcome = Literal["swapped", "unchanged", "dropped", "unreadable"]
# (frame, which may be written to, time in seconds) -> the frame with faces swapped, and how many of them
FrameSwapper = Callable[[Picture, float], tuple[Picture, int]]
MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_FRAME_PIXELS: Final = 3840 * 2160
MIN_QUALITY: Final = 40
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LiveAnswer:
    """What became of a frame: JPEG in `encoded` when faces were swapped, else empty; `latency_s` since it arrived."""

    id: int
    outcome: Outcome
    latency_s: float
    encoded: bytes = b""
    faces: int = 0


class LiveSwap:
    """Works through the frames of one stream.

    Args:
        queue: where another thread brings them.
        start: makes what swaps frames. Called for the first frame, and again when the frames' size changes.
        jpeg_quality: of the answers, 1 to 100; lowered where a frame would have more than 1 MiB.
        idle_s: how long the next frame may take to come.
        check: called ten times a second while waiting; what it raises ends the stream.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        queue: LatestQueue,
        start: Callable[[], FrameSwapper],
        *,
        jpeg_quality: int = 85,
        idle_s: float = 60.0,
        check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._start = start
        self._quality = jpeg_quality
        self._idle_s = idle_s
        self._check = check
        self._clock = clock
        self._swap: FrameSwapper | None = None
        self._shape: tuple[int, ...] = ()

    def answers(self) -> Iterator[LiveAnswer]:
        """One answer for each frame, in the order of their ids, as soon as it is known.

        Raises:
            LikenessError: see `LatestQueue.next`.
        """
        while True:
            dropped, frame = self._queue.next(self._idle_s, self._check)
            for late in dropped:
                yield self._answer(late, "dropped")
            if frame is None:
                return
            yield self._work(frame)
            self._check()

    def _work(self, frame: LiveFrame) -> LiveAnswer:
        if frame.deadline_s is not None and self._clock() >= frame.deadline_s:
            return self._answer(frame, "dropped")
        try:
            picture = _decoded(frame.encoded)
        except LikenessError as error:
            _log.info("live frame not read", extra={"frame_id": frame.id, "detail": error.detail})
            return self._answer(frame, "unreadable")
        if self._swap is None or picture.shape != self._shape:
            self._swap, self._shape = self._start(), picture.shape
        result, faces = self._swap(picture, frame.arrived_s)
        if faces == 0:
            return self._answer(frame, "unchanged")
        return self._answer(frame, "swapped", self._encoded(result), faces)

    def _encoded(self, picture: Picture) -> bytes:
        quality = self._quality
        encoded = encode_picture(picture, "jpeg", quality)
        while len(encoded) > MAX_FRAME_BYTES and quality > MIN_QUALITY:
            quality = max(MIN_QUALITY, quality - 15)
            encoded = encode_picture(picture, "jpeg", quality)
        return encoded

    def _answer(self, frame: LiveFrame, outcome: Outcome, encoded: bytes = b"", faces: int = 0) -> LiveAnswer:
        return LiveAnswer(frame.id, outcome, self._clock() - frame.arrived_s, encoded, faces)


def _decoded(encoded: bytes) -> Picture:
    if len(encoded) > MAX_FRAME_BYTES:
        detail = f"The frame has {len(encoded)} bytes; at most {MAX_FRAME_BYTES} are accepted."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="frame.encoded")
    return np.asarray(decode_picture(encoded, field="frame.encoded", max_pixels=MAX_FRAME_PIXELS))
