"""Stopping work: calls are cancelled, waits end, the first reason counts; the queue has an end."""

from __future__ import annotations

import threading
import time

import pytest

from services.common.errors import LikenessError
from services.gateway.background import Background
from services.gateway.film_progress import FilmProgress
from services.gateway.halting import Halt

WHY = LikenessError("CANCELLED", "Enough.")


class Call:
    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_stopping_cancels_what_runs_and_what_begins_later() -> None:
    halt, running, later = Halt(), Call(), Call()
    with halt.cancelling(running):
        assert running.cancelled == 0
        halt.stop(WHY)
        assert running.cancelled == 1
    with halt.cancelling(later):
        assert later.cancelled == 1


def test_the_first_reason_counts_and_is_raised() -> None:
    halt = Halt()
    halt.check()
    halt.stop(WHY)
    halt.stop(LikenessError("INTERNAL", "Later."))
    with pytest.raises(LikenessError, match="Enough") as told:
        halt.check()
    assert told.value.reason == "CANCELLED"


def test_a_wait_ends_when_it_must() -> None:
    halt = Halt()
    threading.Timer(0.05, halt.stop, [WHY]).start()
    began_at = time.monotonic()
    with pytest.raises(LikenessError):
        halt.wait(30)
    assert time.monotonic() - began_at < 10


def test_work_runs_in_order_and_the_queue_is_bounded() -> None:
    background = Background(workers=1, queue_size=1)
    go_on, ran = threading.Event(), []

    def work(name: str):  # type: ignore[no-untyped-def]
        def run(halt: Halt) -> None:
            go_on.wait(10)
            ran.append(name)

        return run

    for name in ("first", "second"):
        with background.reserve() as place:
            place.submit(name, "", work(name))
    with pytest.raises(LikenessError) as refused:
        background.reserve()
    assert refused.value.reason == "QUEUE_FULL" and refused.value.retry_after_s
    go_on.set()
    give_up_at = time.monotonic() + 10
    while len(ran) < 2 and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert ran == ["first", "second"]


def test_a_place_that_is_not_used_is_given_back() -> None:
    background = Background(workers=1, queue_size=0)
    for _ in range(3):
        with background.reserve(), pytest.raises(LikenessError):
            background.reserve()


def test_closing_stops_work_and_names_it() -> None:
    background = Background(workers=1, queue_size=1)
    seen: list[str] = []

    def run(halt: Halt) -> None:
        try:
            halt.wait(30)
        except LikenessError as error:
            seen.append(error.detail)

    for name in ("a", "b"):
        with background.reserve() as place:
            place.submit(name, "", run)
    assert background.close(WHY) == ["a", "b"]
    assert seen[0] == "Enough."
    with pytest.raises(LikenessError) as refused:
        background.reserve()
    assert refused.value.reason == "DRAINING"


def test_progress_counts_all_segments_and_forgets_a_failed_attempt() -> None:
    told: list[dict[str, object]] = []
    progress = FilmProgress(told.append)
    assert progress.snapshot()["phase"] == "waiting"
    progress.enter("swapping", frames_total=100)
    progress.report(0, 10)
    progress.report(1, 30)
    time.sleep(0.2)
    shot = progress.snapshot()
    assert (shot["frames_done"], shot["frames_total"]) == (40, 100)
    assert shot["frames_per_second"] > 0 and shot["seconds_left"] > 0
    progress.start_again(1)
    assert progress.snapshot()["frames_done"] == 10 and progress.retries == 1
    progress.report(0, 120)
    assert progress.snapshot()["frames_total"] == 120, "never more done than there is"
    assert [item["phase"] for item in told] == ["swapping"]
