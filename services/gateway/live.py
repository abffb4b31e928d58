"""A live swap: frames from a browser to a stage and back, the newest first, for as long as the consents are live."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import numpy as np

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, for_stage, swap_grant
from services.gateway.consents.safety import LiveSafety
from services.gateway.context import Gateway
from services.gateway.halting import Halt
from services.gateway.jobs import report_progress
from services.gateway.live_wire import FrameHeader, Outcome, pack_frame, unpack_frame
from services.gateway.painting import Painting
from services.gateway.stages import Call, fields_called

POLL_S: Final = 0.2
MAX_SESSION_S: Final = 3600.0
_LATENCIES: Final = 2000  # so many of the last frames are measured by
_OUTCOMES: Final[dict[int, Outcome]] = {
    faceswap_pb2.LIVE_OUTCOME_SWAPPED: "swapped",
    faceswap_pb2.LIVE_OUTCOME_UNCHANGED: "unchanged",
    faceswap_pb2.LIVE_OUTCOME_DROPPED: "dropped",
    faceswap_pb2.LIVE_OUTCOME_UNREADABLE: "unreadable",
}


@dataclass(frozen=True)
class LiveOrder:
    """Who is put onto whom, and how answers are coded."""

    assignments: Sequence[Assignment]
    painting: Painting
    jpeg_quality: int = 85
    deadline_ms: int = 0
    mark: int | None = None


@dataclass
class LiveFigures:
    """What a session did; latencies are those of the stage, in milliseconds."""

    started_at: float = field(default_factory=time.monotonic)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("received", *_OUTCOMES.values()), 0))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def to_json(self) -> dict[str, Any]:
        p95 = float(np.percentile(self.latencies_ms, 95)) if self.latencies_ms else None
        return {
            "seconds": round(time.monotonic() - self.started_at, 3),
            **{f"frames_{name}": count for name, count in self.counts.items()},
            "stage_latency_p95_ms": None if p95 is None else round(p95, 2),
        }


class _Slot:
    """Holds the newest frame that the stage has not yet asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: faceswap_pb2.LiveFrame | None = None
        self._closed = False

    def put(self, frame: faceswap_pb2.LiveFrame) -> int | None:
        """The id of the frame that this one replaced."""
        with self._changed:
            replaced, self._frame = self._frame, frame
            self._changed.notify()
            return None if replaced is None else replaced.id

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def requests(self, setup: faceswap_pb2.LiveSetup) -> Iterator[faceswap_pb2.SwapLiveRequest]:
        """What is sent to the stage; read by gRPC's own thread."""
        yield faceswap_pb2.SwapLiveRequest(setup=setup)
        while True:
            with self._changed:
                while self._frame is None and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                frame, self._frame = self._frame, None
            yield faceswap_pb2.SwapLiveRequest(frame=frame)


def run_live(
    gateway: Gateway,
    job_id: str,
    order: LiveOrder,
    *,
    tenant: str,
    request_id: str,
    names: dict[str, str],
    receive: Callable[[float], bytes | str | None],
    send: Callable[[bytes], None],
    figures: LiveFigures,
) -> None:
    """Serves until the caller goes: `receive(seconds)` and `send(message)` raise what they like then.

    Args:
        names: what the stage's fields are called in the request.
        receive: waits so long for a message of the caller; None when there is none.
        send: hands the caller a message; called from two threads, never at the same time.
        figures: is filled as it goes.

    Raises:
        LikenessError: a consent that is not live any more; a message that is no frame; SAFETY_*; what the stage failed
            with.
    """
    setup = faceswap_pb2.LiveSetup(
        assignments=for_stage(gateway, tenant, order.assignments),
        options=order.painting.message(),
        jpeg_quality=order.jpeg_quality,
    )
    slot, halt, sending = _Slot(), Halt(), threading.Lock()

    def answer(header: FrameHeader, encoded: bytes = b"") -> None:
        with sending:
            figures.counts[str(header.outcome)] += 1
            send(pack_frame(header, encoded))

    grant = swap_grant(tenant, order.assignments, setup.assignments, order.mark, gateway.policy)
    call = Call.within(MAX_SESSION_S, request_id, grant)
    running = gateway.stages.swap_live(slot.requests(setup), call)
    answers = threading.Thread(
        target=_hand_on, args=(gateway, running, answer, figures, halt), name="live-answers", daemon=True
    )
    answers.start()
    watch = _Watch(gateway, job_id, tenant, order, figures)
    safety = LiveSafety(gateway.policy, gateway.settings.consent_interval_s)
    try:
        with halt.cancelling(running), fields_called(names):
            while True:
                message = receive(POLL_S)
                halt.check()
                watch.look()
                if message is None:
                    continue
                frame = unpack_frame(message)
                safety.look(frame.encoded, field="frame")
                figures.counts["received"] += 1
                replaced = slot.put(
                    faceswap_pb2.LiveFrame(id=frame.header.id, encoded=frame.encoded, deadline_ms=order.deadline_ms)
                )
                if replaced is not None:
                    answer(FrameHeader(id=replaced, outcome="dropped"))
    finally:
        slot.close()
        answers.join(POLL_S)


def _hand_on(
    gateway: Gateway, running: Any, answer: Callable[[FrameHeader, bytes], None], figures: LiveFigures, halt: Halt
) -> None:
    """The stage's answers to the caller, until one of the two ends it."""
    try:
        for response in running:
            figures.latencies_ms.append(response.latency_ms)
            header = FrameHeader(
                id=response.id,
                outcome=_OUTCOMES.get(response.outcome, "unchanged"),
                faces=response.faces,
                latency_ms=round(response.latency_ms, 2),
            )
            answer(header, response.encoded)
        halt.stop(LikenessError("STAGE_UNAVAILABLE", "The face stage has ended the stream.", retry_after_s=1.0))
    except grpc.RpcError as error:
        try:
            gateway.stages.raise_from("faceswap", error)
        except LikenessError as told:
            halt.stop(told)
    except Exception as error:  # the caller has gone, which the other thread finds out as well
        halt.stop(LikenessError("CANCELLED", f"The caller went away: {type(error).__name__}."))


class _Watch:
    """Looks every now and then whether the session may go on."""

    def __init__(self, gateway: Gateway, job_id: str, tenant: str, order: LiveOrder, figures: LiveFigures) -> None:
        self._gateway = gateway
        self._job_id = job_id
        self._tenant = tenant
        self._order = order
        self._figures = figures
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Raises LikenessError when consent, job or gateway have ended."""
        if self._gateway.stopping.is_set():
            raise LikenessError("DRAINING", "The gateway is stopping.", retry_after_s=5.0)
        if time.monotonic() - self._looked_at < self._gateway.settings.consent_interval_s:
            return
        self._looked_at = time.monotonic()
        for_stage(self._gateway, self._tenant, self._order.assignments)
        done = self._figures.counts["swapped"]
        if not report_progress(self._gateway.database, self._job_id, {"phase": "swapping", "frames_done": done}):
            raise LikenessError("CANCELLED", "The live swap was cancelled.")
