"""What is kept for later requests: the last used, once each, as much as fits."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.faceswap.face_engine import View
from services.faceswap.kept import Kept, array_bytes
from services.faceswap.selection import Person
from tests.waiting import PATIENCE_S


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), max_size=60), st.integers(0, 12))
def test_it_behaves_like_a_list_of_the_last_used(uses: list[tuple[int, int]], capacity: int) -> None:
    """Model: an ordered dictionary that forgets from its beginning. A key's weight is that of its first use."""
    weights = {key: weight for key, weight in reversed(uses)}
    kept: Kept[int] = Kept(capacity, lambda key: weights[key])
    model: OrderedDict[int, int] = OrderedDict()
    for key, _ in uses:
        made: list[int] = []

        def make(key: int = key, made: list[int] = made) -> int:
            made.append(key)
            return key

        assert kept.get(key, make) == key
        assert bool(made) == (key not in model)
        if key in model:
            model.move_to_end(key)
        elif weights[key] <= capacity:
            model[key] = weights[key]
            while sum(model.values()) > capacity:
                model.popitem(last=False)


def test_what_several_threads_ask_for_is_made_once() -> None:
    kept: Kept[object] = Kept(4)
    calls, release = [], threading.Event()

    def make() -> object:
        calls.append(1)
        release.wait(PATIENCE_S)
        return object()

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(kept.get, "key", make) for _ in range(4)]
        release.set()
        values = {id(future.result(PATIENCE_S)) for future in waiting}
    assert len(values) == 1 and len(calls) == 1


def test_a_failure_is_told_and_not_kept() -> None:
    kept: Kept[int] = Kept(4)
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: 1 // 0)
    assert kept.get("key", lambda: 5) == 5


def test_the_arrays_of_a_person_are_weighed_wherever_they_lie() -> None:
    view = View(np.zeros((10, 10, 3), np.uint8), np.zeros((468, 3), np.float32))
    engine: Any = {"weights": np.zeros(10_000)}
    person = Person(engine, [view, {"texture": view.picture}], np.zeros(128, np.float32))
    assert array_bytes(person) == 300 + 468 * 12 + 300 + 512
