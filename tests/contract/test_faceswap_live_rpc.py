"""SwapLive over gRPC: frames in, an answer for each; what ends a stream, and what does not."""

from __future__ import annotations

import queue
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest

from likeness.v1 import faceswap_pb2
from services.common.decode_picture import decode_picture, encode_picture
from services.common.server import StageServer
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, face_stage, inline, told
from tests.waiting import PATIENCE_S, eventually, wait_for

LIMITS: dict[str, Any] = {"max_live_streams": 1, "live_idle_s": PATIENCE_S, "live_max_s": 3 * PATIENCE_S}
SWAPPED = faceswap_pb2.LIVE_OUTCOME_SWAPPED
UNCHANGED = faceswap_pb2.LIVE_OUTCOME_UNCHANGED
DROPPED = faceswap_pb2.LIVE_OUTCOME_DROPPED
UNREADABLE = faceswap_pb2.LIVE_OUTCOME_UNREADABLE


class Stream:
    """The caller's side of a live stream: `send` and `answer` in any order."""

    def __init__(self, stub: Any, first: Any = None, timeout: float = TIMEOUT_S, metadata: Any = None) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        if first is not None:
            self._requests.put(first)
        self.responses = stub.SwapLive(iter(self._requests.get, None), timeout=timeout, metadata=metadata)

    def send(self, id: int, encoded: bytes, deadline_ms: int = 0) -> None:
        frame = faceswap_pb2.LiveFrame(id=id, encoded=encoded, deadline_ms=deadline_ms)
        self._requests.put(faceswap_pb2.SwapLiveRequest(frame=frame))

    def message(self, message: Any) -> None:
        self._requests.put(message)

    def answer(self) -> Any:
        return next(self.responses)

    def end(self) -> list[Any]:
        """No more frames; returns the answers that are left."""
        self._requests.put(None)
        return list(self.responses)

    def failure(self) -> tuple[grpc.StatusCode, str, str]:
        try:
            for _ in self.responses:
                pass
        except grpc.RpcError as error:
            return told(error)
        finally:
            self._requests.put(None)
        raise AssertionError("the stream should have failed")


def setup_of(*sources: np.ndarray, **fields: Any) -> faceswap_pb2.SwapLiveRequest:
    assignment = faceswap_pb2.FaceAssignment(sources=[inline(source) for source in sources])
    return faceswap_pb2.SwapLiveRequest(setup=faceswap_pb2.LiveSetup(assignments=[assignment], **fields))


def settings_of(data_dir: Path, **limits: Any) -> FaceSwapSettings:
    return FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=data_dir, **limits)


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, StageServer]]:
    with face_stage(settings_of(tmp_path_factory.mktemp("data"), **LIMITS)) as both:
        yield both


@pytest.fixture
def stage(shared_stage: tuple[Any, StageServer]) -> tuple[Any, StageServer]:
    """With its only place free: that the stream of the test before has left, it notices a moment later."""
    assert settled(shared_stage[1])
    return shared_stage


@pytest.fixture
def stub(stage: tuple[Any, StageServer]) -> Any:
    return stage[0]


@pytest.fixture
def setup() -> faceswap_pb2.SwapLiveRequest:
    return setup_of(a_woman())


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """A man who moves a little to the right from frame to frame."""
    man = a_man()
    moved = [cv2.warpAffine(man, np.array([[1.0, 0, x], [0, 1, 0]]), (260, 240)) for x in range(0, 20, 2)]
    return [encode_picture(np.asarray(picture, np.uint8), "jpeg") for picture in moved]


def settled(server: StageServer) -> bool:
    """Whether no call holds a place any more, soon."""
    return eventually(lambda: server._admission.running == 0)


def test_frame_after_frame_comes_back_swapped(stub: Any, setup: Any, frames: list[bytes]) -> None:
    stream = Stream(stub, setup)
    for number, encoded in enumerate(frames):
        stream.send(number, encoded)
        answer = stream.answer()
        assert (answer.id, answer.outcome, answer.faces) == (number, SWAPPED, 1)
        assert answer.encoded.startswith(b"\xff\xd8") and answer.latency_ms > 0
        result, original = decode_picture(answer.encoded), decode_picture(encoded)
        assert result.shape == original.shape
        difference = np.abs(result.astype(int) - original).mean(axis=2)
        assert difference[:20].mean() < 3 < difference[60:200, 60:200].mean()  # the face changed, the border did not
    assert stream.end() == []


def test_of_frames_that_come_too_fast_the_newest_is_swapped_and_all_are_answered(
    stub: Any, setup: Any, frames: list[bytes]
) -> None:
    stream = Stream(stub, setup)
    for number in range(30):
        stream.send(10 + number, frames[number % len(frames)])
    answers = stream.end()
    assert [answer.id for answer in answers] == list(range(10, 40))
    outcomes = [answer.outcome for answer in answers]
    assert set(outcomes) <= {SWAPPED, DROPPED} and outcomes[-1] == SWAPPED and DROPPED in outcomes
    assert all(answer.encoded == b"" for answer in answers if answer.outcome == DROPPED)


def test_frames_without_a_face_or_a_picture_do_not_end_the_stream(stub: Any, setup: Any, frames: list[bytes]) -> None:
    stream = Stream(stub, setup)
    grey = encode_picture(np.full((240, 260, 3), 130, np.uint8), "jpeg")
    sequence = [(grey, UNCHANGED), (b"", UNREADABLE), (b"\xff\xd8\xff broken", UNREADABLE), (frames[0], SWAPPED)]
    tall = encode_picture(np.ascontiguousarray(decode_picture(frames[0])[:, 40:220]), "png")  # the camera was turned
    for number, (encoded, outcome) in enumerate([*sequence, (tall, SWAPPED), (frames[1], SWAPPED)]):
        stream.send(number, encoded)
        answer = stream.answer()
        assert (answer.id, answer.outcome) == (number, outcome)
        assert (answer.encoded == b"") == (outcome != SWAPPED)
    assert stream.end() == []


def test_a_frame_whose_deadline_passed_before_its_turn_is_dropped(stub: Any, setup: Any, frames: list[bytes]) -> None:
    stream = Stream(stub, setup)
    stream.send(1, frames[0], deadline_ms=60_000)
    assert stream.answer().outcome == SWAPPED
    blocker = encode_picture(np.full((1200, 1950, 3), 130, np.uint8), "jpeg")
    stream.send(2, blocker)
    time.sleep(0.1)  # it is being worked on
    stream.send(3, frames[0], deadline_ms=1)
    answers = stream.end()
    assert [answer.id for answer in answers] == [2, 3]
    assert answers[-1].outcome == DROPPED


def test_what_is_wrong_with_setup_or_frames_is_told_by_field(stub: Any, setup: Any, frames: list[bytes]) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    blank = np.full((80, 80, 3), 90, np.uint8)
    options = faceswap_pb2.SwapOptions
    for first, reason, field in [
        (setup_of(blank), "FACE_NOT_FOUND", "setup.assignments[0].sources[0]"),
        (setup_of(), "INVALID_FIELD", "setup.assignments[0].sources"),
        (setup_of(a_woman(), jpeg_quality=101), "INVALID_FIELD", "setup.jpeg_quality"),
        (setup_of(a_woman(), options=options(feather=2.0)), "INVALID_FIELD", "setup.options.feather"),
        (setup_of(a_woman(), options=options(engine="none")), "INVALID_FIELD", "setup.options.engine"),
        (faceswap_pb2.SwapLiveRequest(setup=faceswap_pb2.LiveSetup()), "INVALID_FIELD", "setup.assignments"),
        (faceswap_pb2.SwapLiveRequest(frame=faceswap_pb2.LiveFrame(id=1)), "INVALID_FIELD", "frame"),
        (faceswap_pb2.SwapLiveRequest(), "INVALID_FIELD", "content"),
    ]:
        assert Stream(stub, first).failure() == (invalid, reason, field)
    twice = Stream(stub, setup)
    twice.message(setup)
    assert twice.failure() == (invalid, "INVALID_FIELD", "setup")
    backwards = Stream(stub, setup)
    backwards.send(7, frames[0])
    assert backwards.answer().id == 7
    backwards.send(7, frames[1])
    assert backwards.failure() == (invalid, "INVALID_FIELD", "frame.id")
    empty = Stream(stub)
    with pytest.raises(grpc.RpcError) as caught:
        empty.end()
    assert told(caught.value) == (invalid, "INVALID_FIELD", "setup")


def test_a_second_stream_finds_no_place_until_the_first_has_left(
    stage: tuple[Any, StageServer], setup: Any, frames: list[bytes]
) -> None:
    stub, server = stage
    first = Stream(stub, setup)
    first.send(1, frames[0])
    assert first.answer().outcome == SWAPPED
    assert Stream(stub, setup).failure()[:2] == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    picture = faceswap_pb2.DetectFacesRequest(picture=inline(a_man()))
    assert len(stub.DetectFaces(picture, timeout=TIMEOUT_S).faces) == 1  # pictures still have one
    first.responses.cancel()
    assert settled(server)
    again = Stream(stub, setup)
    again.send(1, frames[0])
    assert again.answer().outcome == SWAPPED
    assert again.end() == []


def test_a_stream_in_which_nothing_comes_ends(tmp_path: Path, setup: Any) -> None:
    with face_stage(settings_of(tmp_path, live_idle_s=1.0)) as (stub, server):
        assert Stream(stub).failure() == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "setup")
        assert Stream(stub, setup).failure()[:2] == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
        assert settled(server)


def test_the_caller_s_deadline_ends_a_stream(stage: tuple[Any, StageServer], setup: Any, frames: list[bytes]) -> None:
    stub, server = stage
    stream = Stream(stub, setup, timeout=2.0)
    with pytest.raises(grpc.RpcError) as caught:
        for number in range(1000):
            stream.send(number, frames[0])
            stream.answer()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert settled(server)


def test_a_caller_who_does_not_read_answers_is_slowed_and_loses_nothing(stub: Any) -> None:
    """The server must not hoard frames or answers: the sender is held up by flow control instead."""
    count, sent = 4000, []
    noise = np.random.default_rng(0).integers(-40, 40, (720, 780, 3))
    picture = np.clip(cv2.resize(a_man(), (780, 720)).astype(int) + noise, 0, 255).astype(np.uint8)
    encoded = encode_picture(picture, "jpeg", 50)  # answered with a file of eight times the size

    def requests() -> Iterator[Any]:
        yield setup_of(a_woman(), jpeg_quality=100)
        for number in range(count):
            sent.append(number)
            yield faceswap_pb2.SwapLiveRequest(frame=faceswap_pb2.LiveFrame(id=number, encoded=encoded))

    responses = stub.SwapLive(requests(), timeout=TIMEOUT_S)
    before, until_s = -1, time.monotonic() + 30
    while len(sent) != before and time.monotonic() < until_s:
        before = len(sent)
        time.sleep(1.5)
    assert 0 < len(sent) < count
    held_up_at = len(sent)
    read = [next(responses).id for _ in range(held_up_at)]
    assert read == list(range(held_up_at)) and len(sent) > held_up_at
    responses.cancel()


def test_frames_are_counted_by_outcome_with_their_latency(
    stage: tuple[Any, StageServer], setup: Any, frames: list[bytes]
) -> None:
    stub, server = stage

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=PATIENCE_S) as reply:
            lines = [line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def quiet_metrics() -> dict[str, float]:
        """Those once no stream is open: the server notices an end a moment later than the client."""
        return wait_for(lambda: now if (now := metrics())["likeness_face_live_streams"] == 0 else None)

    before = quiet_metrics()
    stream = Stream(stub, setup)
    for number in range(4):
        stream.send(number, frames[number])
        stream.answer()
    assert metrics()["likeness_face_live_streams"] == 1
    stream.end()
    after = quiet_metrics()
    swapped = 'likeness_face_live_frames_total{outcome="swapped"}'
    assert after[swapped] - before.get(swapped, 0) == 4
    seconds = "likeness_face_live_seconds_count"
    assert after[seconds] - before.get(seconds, 0) == 4
    tracks = 'likeness_face_tracks_total{kind="live"}'
    assert after[tracks] - before.get(tracks, 0) == 1


def test_a_server_that_stops_ends_its_streams_so_that_callers_go_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, setup: Any, frames: list[bytes]
) -> None:
    settings = FaceSwapSettings(
        port=0, metrics_port=0, drain_wait_s=0.0, drain_grace_s=PATIENCE_S, data_dir=tmp_path_factory.mktemp("data")
    )
    with face_stage(settings) as (stub, server):
        stream = Stream(stub, setup)
        stream.send(1, frames[0])
        assert stream.answer().outcome == SWAPPED
        results: list[bool] = []
        stopping = threading.Thread(target=lambda: results.append(server.drain()))
        stopping.start()
        assert stream.failure()[:2] == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        stopping.join(PATIENCE_S)
        assert results == [True]
