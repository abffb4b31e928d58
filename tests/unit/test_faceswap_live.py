"""The live queue and what works through it, with a swap that is a stand-in and a clock that is set by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.decode_picture import decode_picture, encode_picture
from services.common.errors import LikenessError
from services.faceswap.detector import Picture
from services.faceswap.live import MAX_FRAME_BYTES, LiveAnswer, LiveSwap
from services.faceswap.live_queue import MAX_DROPPED_UNTOLD, LatestQueue, LiveFrame
from tests.waiting import PATIENCE_S, wait_for


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def frame_bytes(value: int = 90, height: int = 24, width: int = 32) -> bytes:
    return encode_picture(np.full((height, width, 3), value, np.uint8), "png")


def frame(id: int, encoded: bytes | None = None, deadline_s: float | None = None) -> LiveFrame:
    return LiveFrame(id, frame_bytes() if encoded is None else encoded, 0.0, deadline_s)


def inverted(picture: Picture, time_s: float) -> tuple[Picture, int]:
    return 255 - picture, 1


def swap_of(queue: LatestQueue, swap: Callable[..., Any] = inverted, **options: Any) -> LiveSwap:
    return LiveSwap(queue, lambda: swap, **options)


def outcomes(answers: list[LiveAnswer]) -> list[tuple[int, str]]:
    return [(answer.id, answer.outcome) for answer in answers]


def test_the_newest_frame_is_next_and_the_others_are_told_as_dropped() -> None:
    queue = LatestQueue()
    for number in (3, 4, 9):
        assert queue.submit(frame(number, frame_bytes(number)))
    queue.finish()
    answers = list(swap_of(queue).answers())
    assert outcomes(answers) == [(3, "dropped"), (4, "dropped"), (9, "swapped")]
    assert abs(int(decode_picture(answers[-1].encoded).mean()) - (255 - 9)) <= 2
    assert [answer.encoded for answer in answers[:2]] == [b"", b""] and answers[-1].faces == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_every_frame_has_one_answer_in_order_whatever_the_pace(fast: list[bool]) -> None:
    """Frames come while the taker works or after it has; either way nothing is lost or told twice."""
    queue = LatestQueue()
    taken: list[LiveAnswer] = []
    worked = threading.Semaphore(0)

    def work(picture: Picture, time_s: float) -> tuple[Picture, int]:
        worked.release()
        return picture, 0

    taker = threading.Thread(target=lambda: taken.extend(swap_of(queue, work).answers()))
    taker.start()
    for number, hurry in enumerate(fast):
        queue.submit(frame(number))
        if not hurry:
            assert worked.acquire(timeout=PATIENCE_S)
    queue.finish()
    taker.join(timeout=PATIENCE_S)
    assert not taker.is_alive()
    assert [answer.id for answer in taken] == list(range(len(fast)))
    assert {answer.outcome for answer in taken} <= {"dropped", "unchanged"}
    assert taken[-1].outcome == "unchanged"


def test_a_frame_whose_time_has_passed_is_not_worked_on() -> None:
    clock, queue = Clock(), LatestQueue()
    worked = []

    def work(picture: Picture, time_s: float) -> tuple[Picture, int]:
        worked.append(time_s)
        return picture, 1

    answers = swap_of(queue, work, clock=clock).answers()
    queue.submit(frame(1, deadline_s=0.5))
    clock.now_s = 0.6
    assert outcomes([next(answers)]) == [(1, "dropped")]
    queue.submit(frame(2, deadline_s=0.7))
    answer = next(answers)
    assert (answer.outcome, len(worked)) == ("swapped", 1) and answer.latency_s == pytest.approx(0.6)


def test_a_frame_that_cannot_be_read_does_not_end_the_stream() -> None:
    queue = LatestQueue()
    answers = swap_of(queue).answers()
    for number, bad in enumerate([b"", b"nothing", frame_bytes()[:40], bytes(MAX_FRAME_BYTES + 1)]):
        queue.submit(frame(number, bad))
        assert outcomes([next(answers)]) == [(number, "unreadable")]
    queue.submit(frame(10))
    assert next(answers).outcome == "swapped"


def test_a_new_size_begins_a_new_sequence() -> None:
    queue, started = LatestQueue(), []

    def start() -> Callable[..., Any]:
        started.append(True)
        return inverted

    answers = LiveSwap(queue, start).answers()
    for number, size in enumerate([(20, 30), (20, 30), (30, 20), (30, 20)]):
        queue.submit(frame(number, frame_bytes(50, *size)))
        assert decode_picture(next(answers).encoded).shape[:2] == size
    assert len(started) == 2


def test_a_picture_that_compresses_badly_is_sent_at_lower_quality() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    queue = LatestQueue()
    queue.submit(frame(1))
    queue.finish()
    (answer,) = swap_of(queue, lambda picture, time_s: (noise, 1), jpeg_quality=100).answers()
    assert len(answer.encoded) < len(encode_picture(noise, "jpeg", 85))


@pytest.mark.parametrize("second", [5, 4, 0])
def test_ids_must_ascend(second: int) -> None:
    queue = LatestQueue()
    queue.submit(frame(5))
    with pytest.raises(LikenessError) as caught:
        queue.submit(frame(second))
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", "frame.id")


def test_a_stream_without_frames_ends() -> None:
    clock = Clock()

    def later() -> None:
        clock.now_s += 4.0

    with pytest.raises(LikenessError) as caught:
        next(swap_of(LatestQueue(clock), idle_s=10.0, check=later).answers())
    assert caught.value.reason == "DEADLINE_EXCEEDED" and clock.now_s == 12.0


def test_the_failure_of_the_caller_and_of_the_check_end_the_stream() -> None:
    queue = LatestQueue()
    queue.submit(frame(1))
    queue.finish(LikenessError("INVALID_FIELD", "Not so.", field="frame.id"))
    with pytest.raises(LikenessError, match="Not so"):
        next(swap_of(queue).answers())

    def refuse() -> None:
        raise LikenessError("DRAINING", "Elsewhere.")

    busy = LatestQueue()
    busy.submit(frame(1))
    answers = swap_of(busy, check=refuse).answers()
    assert next(answers).outcome == "swapped"  # what was begun is answered
    busy.submit(frame(2))
    with pytest.raises(LikenessError, match="Elsewhere"):
        next(answers)


def test_a_caller_who_does_not_fetch_answers_is_made_to_wait_until_he_does() -> None:
    queue, sent = LatestQueue(), []

    def send() -> None:
        for number in range(MAX_DROPPED_UNTOLD + 5):
            queue.submit(frame(number))
            sent.append(number)
        queue.finish()

    sender = threading.Thread(target=send)
    sender.start()
    wait_for(lambda: len(sent) == MAX_DROPPED_UNTOLD + 1)  # one waits, the rest are dropped
    time.sleep(0.1)
    assert len(sent) == MAX_DROPPED_UNTOLD + 1, "the next is not taken"
    assert [answer.id for answer in swap_of(queue).answers()] == list(range(MAX_DROPPED_UNTOLD + 5))
    sender.join(timeout=PATIENCE_S)
    assert not sender.is_alive()


def test_closing_frees_a_caller_who_waits() -> None:
    queue, results = LatestQueue(), []
    sender = threading.Thread(
        target=lambda: results.extend(queue.submit(frame(number)) for number in range(MAX_DROPPED_UNTOLD + 2))
    )
    sender.start()
    wait_for(lambda: len(results) == MAX_DROPPED_UNTOLD + 1)
    time.sleep(0.1)  # it waits by now, or finds the queue closed: either way it is told so
    queue.close()
    sender.join(PATIENCE_S)
    assert results == [True] * (MAX_DROPPED_UNTOLD + 1) + [False]
