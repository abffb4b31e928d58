"""The deadline of the request at hand, known to whatever runs on its behalf in the same thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from services.common.errors import LikenessError

_DIFFERENCE_S: Final = 0.1


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at_s - time.monotonic()

    def why_it_ended(self, detail: str = "The caller went away.") -> LikenessError:
        """Of a call that its caller ended just now: for want of time, where little was left, for callers' clocks and
        ours differ a little; else CANCELLED with `detail`."""
        return _out_of_time() if self.remaining_s() <= _DIFFERENCE_S else LikenessError("CANCELLED", detail)

    def check(self) -> None:
        """Raises LikenessError DEADLINE_EXCEEDED once it has passed."""
        if self.remaining_s() <= 0:
            raise _out_of_time()


def _out_of_time() -> LikenessError:
    return LikenessError("DEADLINE_EXCEEDED", "The time allowed for this request has passed.")


_current: ContextVar[Deadline | None] = ContextVar("likeness_deadline", default=None)


def current_deadline() -> Deadline | None:
    """The deadline of the request this thread works on; None outside of requests."""
    return _current.get()


@contextmanager
def use_deadline(deadline: Deadline) -> Iterator[Deadline]:
    """Makes `deadline` the current one within the block; gRPC calls made there do not outlast it."""
    before = _current.get()
    _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.set(before)  # no token: a generator may be closed in another context than it ran in
