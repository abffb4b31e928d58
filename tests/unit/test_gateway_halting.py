"""Stopping work: calls are cancelled, waits end, the first reason counts."""

from __future__ import annotations

import threading
import time

import pytest

from services.common.errors import LikenessError
from services.gateway.film_progress import FilmProgress
from services.gateway.halting import Halt, HandedOver

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


def test_that_work_is_another_s_counts_before_all_reasons() -> None:
    halt = Halt()
    halt.stop(WHY)
    halt.stop(HandedOver("Another worker has it."))
    with pytest.raises(HandedOver, match="Another worker"):
        halt.check()
    with pytest.raises(HandedOver):
        halt.wait(0.0)


@pytest.mark.parametrize("why", [WHY, HandedOver("Gone.")])
def test_a_part_is_stopped_with_the_whole_but_not_the_other_way_round(why: LikenessError | HandedOver) -> None:
    whole, part, late, other = Halt(), Halt(), Halt(), Halt()
    with whole.including(part):
        part.check()
        whole.stop(why)
        with pytest.raises(type(why)):
            part.check()
    with whole.including(late), pytest.raises(type(why)):
        late.check()
    with other.including(late):
        other.check()


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
    assert progress.start_again(1) == 1
    assert progress.start_again(0, counted=False) == 0, "it had not begun"
    progress.report(0, 10)
    assert progress.snapshot()["frames_done"] == 10 and progress.retries == 1
    progress.report(0, 120)
    assert progress.snapshot()["frames_total"] == 120, "never more done than there is"
    assert [item["phase"] for item in told] == ["swapping"]
