"""One SwapLive call: its messages to `LiveSwap` and back."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from typing import Any, Final

from likeness.v1 import faceswap_pb2
from services.common.deadlines import Deadline, current_deadline
from services.common.errors import LikenessError
from services.common.grants import granted_label
from services.faceswap import stage_metrics
from services.faceswap.canvas import PictureCanvas
from services.faceswap.detector import Picture
from services.faceswap.live import FrameSwapper, LiveAnswer, LiveSwap
from services.faceswap.live_queue import LatestQueue, LiveFrame
from services.faceswap.marks import LiveMarks, Marks
from services.faceswap.requests import RequestReader, fields_below, read_look
from services.faceswap.sequence import SequenceSwapper
from services.faceswap.swapper import FaceSwapper

DEFAULT_QUALITY: Final = 85
_POLL_S: Final = 0.1
_OUTCOMES: Final = {
    "swapped": faceswap_pb2.LIVE_OUTCOME_SWAPPED,
    "unchanged": faceswap_pb2.LIVE_OUTCOME_UNCHANGED,
    "dropped": faceswap_pb2.LIVE_OUTCOME_DROPPED,
    "unreadable": faceswap_pb2.LIVE_OUTCOME_UNREADABLE,
}


@dataclass(frozen=True)
class LiveLimits:
    """How long setup or the next frame may take to come, and a stream may last, whatever its deadline says."""

    idle_s: float
    max_s: float


class LiveCall:
    """Reads the caller's messages in a thread of its own, and answers in the one that iterates over `responses`.

    Args:
        draining: whether the stage is about to stop; the stream then ends so that the caller opens one elsewhere.
        marks: gives the call its marker.
    """

    def __init__(
        self,
        swapper: FaceSwapper,
        reader: RequestReader,
        limits: LiveLimits,
        draining: Callable[[], bool],
        marks: Marks,
    ) -> None:
        self._swapper = swapper
        self._reader = reader
        self._limits = limits
        self._draining = draining
        self._marks = LiveMarks(marks.marker(), granted_label())
        self._call_deadline = current_deadline()
        self._stream_deadline = Deadline.after(limits.max_s)
        self._setup: Future[faceswap_pb2.LiveSetup] = Future()
        self._queue = LatestQueue()

    def responses(self, requests: Iterator[Any], context: Any) -> Iterator[faceswap_pb2.SwapLiveResponse]:
        """Answers until the caller has no more frames.

        Raises:
            LikenessError: INVALID_FIELD and what people can fail with, naming the field below `setup` or `frame`;
                DEADLINE_EXCEEDED when nothing comes or the stream lasted too long; DRAINING; CANCELLED; MARK_FAILED.
        """
        reading = contextvars.copy_context()
        threading.Thread(target=reading.run, args=(self._read, requests), name="live-reader", daemon=True).start()
        try:
            setup = self._awaited_setup(context)
            live = LiveSwap(
                self._queue,
                self._frame_swapper(setup),
                jpeg_quality=setup.jpeg_quality or DEFAULT_QUALITY,
                idle_s=self._limits.idle_s,
                check=lambda: self._check(context),
            )
            with stage_metrics.live_streams.track_inprogress():
                for answer in live.answers():
                    _count(answer)
                    yield _message(answer)
        finally:
            self._queue.close()  # lets the reader thread go

    def _frame_swapper(self, setup: faceswap_pb2.LiveSetup) -> Callable[[], FrameSwapper]:
        """Prepares everybody, once; what it returns begins a sequence."""
        if setup.jpeg_quality > 100:
            detail = f"jpeg_quality must lie between 1 and 100, or be 0 for the default, got {setup.jpeg_quality}."
            raise LikenessError("INVALID_FIELD", detail, field="setup.jpeg_quality")
        with fields_below("setup", ("assignments", "options")):
            look = read_look(setup.options)
            people = self._reader.people(setup.assignments, setup.options)

        def start() -> FrameSwapper:
            sequence = SequenceSwapper(self._swapper, people, look)
            known: set[int] = set()

            def swap(frame: Picture, time_s: float) -> tuple[Picture, int]:
                faces, _ = sequence.swap_canvas(PictureCanvas(frame), time_s)
                new = {face.track_id for face in faces} - known
                known.update(new)
                stage_metrics.tracks_total.labels(kind="live").inc(len(new))
                painted = sum(face.painted is not None for face in faces)
                if painted:
                    self._marks.mark(frame)
                return frame, painted

            return swap

        return start

    def _awaited_setup(self, context: Any) -> faceswap_pb2.LiveSetup:
        until = Deadline.after(self._limits.idle_s)
        while True:
            try:
                return self._setup.result(_POLL_S)
            except NotYet:
                self._check(context)
                if until.remaining_s() <= 0:
                    detail = f"No setup came within {self._limits.idle_s:g} seconds."
                    raise LikenessError("DEADLINE_EXCEEDED", detail, field="setup") from None

    def _check(self, context: Any) -> None:
        """Raises when the stream has to end."""
        if not context.is_active():
            raise LikenessError("CANCELLED", "The caller went away.")
        if self._call_deadline is not None:
            self._call_deadline.check()
        if self._stream_deadline.remaining_s() <= 0:
            detail = f"A live stream lasts at most {self._limits.max_s:g} seconds; open a new one."
            raise LikenessError("DEADLINE_EXCEEDED", detail)
        if self._draining():
            raise LikenessError("DRAINING", "The server is shutting down; open a new stream.", retry_after_s=1.0)

    def _read(self, requests: Iterator[Any]) -> None:
        """The reader thread: setup first, then frames, until there are no more or nobody wants them."""
        failure: Exception | None = None
        try:
            for number, request in enumerate(requests):
                content = request.WhichOneof("content")
                if content != ("frame" if number else "setup"):
                    detail = "The first message must be a setup, and all others frames."
                    raise LikenessError("INVALID_FIELD", detail, field=content or "content")
                if content == "setup":
                    self._setup.set_result(request.setup)
                elif not self._queue.submit(_frame(request.frame)):
                    return
        except Exception as error:  # of a call that has ended gRPC raises whatever it likes; the taker knows why
            failure = error
        if not self._setup.done():
            nothing = LikenessError("INVALID_FIELD", "The stream ended without a setup.", field="setup")
            self._setup.set_exception(failure or nothing)
        self._queue.finish(failure)


def _frame(message: faceswap_pb2.LiveFrame) -> LiveFrame:
    arrived_s = time.monotonic()
    deadline_s = arrived_s + message.deadline_ms / 1000.0 if message.deadline_ms else None
    return LiveFrame(message.id, message.encoded, arrived_s, deadline_s)


def _message(answer: LiveAnswer) -> faceswap_pb2.SwapLiveResponse:
    return faceswap_pb2.SwapLiveResponse(
        id=answer.id,
        outcome=_OUTCOMES[answer.outcome],
        encoded=answer.encoded,
        faces=answer.faces,
        latency_ms=1000.0 * answer.latency_s,
    )


def _count(answer: LiveAnswer) -> None:
    stage_metrics.live_frames_total.labels(outcome=answer.outcome).inc()
    if answer.outcome in ("swapped", "unchanged"):
        stage_metrics.live_seconds.observe(answer.latency_s)
        stage_metrics.faces_per_frame.labels(kind="live").observe(answer.faces)
