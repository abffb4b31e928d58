"""The batcher: one result per item whatever the company, bounded, and never late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.batching import DynamicBatcher
from services.common.errors import LikenessError
from tests.waiting import PATIENCE_S, PROMPT_S, wait_for

MakeBatcher = Callable[..., DynamicBatcher[int, int]]


@pytest.fixture
def batcher() -> Iterator[MakeBatcher]:
    made: list[DynamicBatcher[int, int]] = []

    def make(run: Callable[[list[int]], list[int]], **options: int) -> DynamicBatcher[int, int]:
        limits = {"max_batch_size": 4, "max_queue_delay_microseconds": 2000, "max_queue_size": 100} | options
        made.append(DynamicBatcher(run, name="test", **limits))
        return made[-1]

    yield make
    for item in made:
        item.close()


def squares(items: list[int]) -> list[int]:
    return [item * item for item in items]


def reason(act: Callable[[], object]) -> str:
    with pytest.raises(LikenessError) as raised:
        act()
    return raised.value.reason


def test_each_caller_gets_its_own_result(batcher: MakeBatcher) -> None:
    sizes: list[int] = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        return squares(items)

    shared = batcher(run, max_queue_delay_microseconds=20_000)
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(shared.submit, range(12))) == [n * n for n in range(12)]
    assert max(sizes) <= 4
    assert len(sizes) < 12  # some shared a run


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers(), max_size=40), size=st.integers(1, 9))
def test_batches_equal_singles_in_order(items: list[int], size: int) -> None:
    shared: DynamicBatcher[int, int] = DynamicBatcher(
        squares, max_batch_size=size, max_queue_delay_microseconds=0, max_queue_size=50, name="test"
    )
    assert shared.submit_many(items) == squares(items)
    shared.close()


def test_lone_item_does_not_wait_long(batcher: MakeBatcher) -> None:
    shared = batcher(squares, max_queue_delay_microseconds=1000)
    started_s = time.monotonic()
    assert shared.submit(3) == 9
    assert time.monotonic() - started_s < PROMPT_S


def test_bad_item_fails_alone(batcher: MakeBatcher) -> None:
    def run(items: list[int]) -> list[int]:
        if 13 in items:
            raise ValueError("thirteen")
        return squares(items)

    shared = batcher(run, max_queue_delay_microseconds=50_000)
    with ThreadPoolExecutor(4) as pool:
        futures = {item: pool.submit(shared.submit, item) for item in (1, 13, 2, 3)}
    assert [futures[item].result() for item in (1, 2, 3)] == [1, 4, 9]
    with pytest.raises(ValueError, match="thirteen"):
        futures[13].result()


def test_full_queue_is_refused_and_nothing_of_it_is_kept(batcher: MakeBatcher) -> None:
    running, release, seen = threading.Event(), threading.Event(), []

    def run(items: list[int]) -> list[int]:
        running.set()
        release.wait(PATIENCE_S)
        seen.extend(items)
        return squares(items)

    shared = batcher(run, max_batch_size=1, max_queue_size=2)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(shared.submit, 1)
        running.wait(PATIENCE_S)
        others = []
        for number in (2, 3):
            others.append(pool.submit(shared.submit, number))
            wait_for(lambda: len(shared._queue) == len(others))
        assert reason(lambda: shared.submit(4)) == "QUEUE_FULL"
        assert reason(lambda: shared.submit_many([5, 6, 7])) == "QUEUE_FULL"
        release.set()
        assert [future.result() for future in (first, *others)] == [1, 4, 9]
    assert seen == [1, 2, 3]


def test_expired_item_never_reaches_the_model(batcher: MakeBatcher) -> None:
    running, release, seen = threading.Event(), threading.Event(), []

    def run(items: list[int]) -> list[int]:
        seen.extend(items)
        running.set()
        release.wait(PATIENCE_S)
        return squares(items)

    shared = batcher(run, max_batch_size=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(shared.submit, 1)
        running.wait(PATIENCE_S)
        assert reason(lambda: shared.submit(2, deadline_s=0.1)) == "DEADLINE_EXCEEDED"
        assert reason(lambda: shared.submit(3, deadline_s=0.0)) == "DEADLINE_EXCEEDED"
        release.set()
        assert first.result() == 1
    assert shared.submit(4) == 16
    assert seen == [1, 4]


def test_wrong_number_of_results_is_an_error_not_a_mix_up(batcher: MakeBatcher) -> None:
    shared = batcher(lambda items: [])
    with pytest.raises(RuntimeError, match="1 items gave 0 results"):
        shared.submit(1)


def test_closed_batcher_finishes_what_it_has_and_takes_no_more(batcher: MakeBatcher) -> None:
    release = threading.Event()

    def held(items: list[int]) -> list[int]:
        release.wait(PATIENCE_S)
        return squares(items)

    shared = batcher(held, max_batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(shared.submit, number) for number in range(3)]
        wait_for(lambda: len(shared._queue) == 2)  # and one is running
        closing = pool.submit(shared.close)
        wait_for(lambda: shared._closed)
        release.set()
        closing.result()
        assert [future.result() for future in futures] == [0, 1, 4]
    assert reason(lambda: shared.submit(5)) == "DRAINING"
