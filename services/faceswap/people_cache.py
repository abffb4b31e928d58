"""Prepared people, kept for the next request that brings the same pictures, such as the next segment of a film."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from services.faceswap.selection import Person


class PeopleCache:
    """Keeps the people used last, as many as fit. Who is asked for by several threads at once is prepared once.

    Args:
        max_bytes: of all arrays kept; somebody who alone has more is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Person, int]] = OrderedDict()
        self._making: dict[Hashable, Future[Person]] = {}

    def get(self, key: Hashable, make: Callable[[], Person]) -> Person:
        """The person of a key, made if it is not kept. What `make` raises is raised to all who wait for it."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            being_made = self._making.get(key)
            if being_made is None:
                mine = self._making[key] = Future()
        if being_made is not None:
            return being_made.result()
        try:
            person = make()
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                del self._making[key]
            raise
        mine.set_result(person)
        with self._lock:
            del self._making[key]
            self._keep(key, person)
        return person

    def _keep(self, key: Hashable, person: Person) -> None:
        size = array_bytes(person)
        if size > self._max_bytes:
            return
        self._kept[key] = (person, size)
        while sum(kept for _, kept in self._kept.values()) > self._max_bytes:
            self._kept.popitem(last=False)


def array_bytes(value: Any) -> int:
    """Bytes of the arrays in nested dataclasses, sequences and mappings; an engine's own are not counted."""
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
