"""What was made for earlier requests and is kept for later ones: people, and what films are like."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from services.faceswap.selection import Person

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Keeps the values used last, as many as fit. What several threads ask for at once is made once.

    Args:
        capacity: of all values kept; one that alone weighs more is not kept.
        weight: of a value.
    """

    def __init__(self, capacity: int, weight: Callable[[Value], int] = lambda value: 1) -> None:
        self._capacity = capacity
        self._weight = weight
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Value]] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not kept. What `make` raises is raised to all who wait for it."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            being_made = self._making.get(key)
            if being_made is None:
                mine = self._making[key] = Future()
        if being_made is not None:
            return being_made.result()
        try:
            value = make()
            weight = self._weight(value)
        except BaseException as error:
            with self._lock:
                del self._making[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._keep(key, value, weight)
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: Value, weight: int) -> None:
        if weight > self._capacity:
            return
        self._values[key] = (value, weight)
        while sum(kept for _, kept in self._values.values()) > self._capacity:
            self._values.popitem(last=False)


def array_bytes(value: Any) -> int:
    """Bytes of the arrays in nested dataclasses, sequences and mappings; a person's engine is not the person's."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, Person):
        return array_bytes(value.source) + array_bytes(value.descriptor)
    if isinstance(value, Mapping):
        return sum(map(array_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(array_bytes, value))
    if is_dataclass(value) and not isinstance(value, type):
        return sum(array_bytes(getattr(value, item.name)) for item in fields(value))
    return 0
