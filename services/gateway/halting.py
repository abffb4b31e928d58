"""How running work is stopped: from another thread, at once, with the reason why."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from services.common.errors import LikenessError


class Cancellable(Protocol):
    """A running gRPC call."""

    def cancel(self) -> object: ...


class HandedOver(BaseException):
    """The work goes on in another process, or will: whoever has it here lets it go and writes nothing.

    Not an Exception, so that nothing takes it for a failure of the work.
    """


class Halt:
    """Whether a piece of work is to stop, and the calls that are to be cancelled then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._calls: set[Cancellable] = set()
        self._why: LikenessError | HandedOver | None = None

    def stop(self, why: LikenessError | HandedOver) -> None:
        """Stops the work. The first reason counts, but that it is another's counts before all."""
        with self._lock:
            if self._why is not None and not isinstance(why, HandedOver):
                return
            self._why = why
            self._stopped.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    @property
    def why(self) -> LikenessError | HandedOver | None:
        return self._why

    @property
    def is_stopped(self) -> bool:
        return self._stopped.is_set()

    def check(self) -> None:
        """Raises the reason, once there is one."""
        why = self._why
        if isinstance(why, LikenessError):
            raise LikenessError(why.reason, why.detail, field=why.field, retry_after_s=why.retry_after_s)
        if why is not None:
            raise HandedOver(*why.args)

    def wait(self, seconds: float) -> None:
        """Sleeps that long; raises the reason as soon as there is one."""
        self._stopped.wait(seconds)
        self.check()

    @contextmanager
    def including(self, part: Halt) -> Iterator[None]:
        """Stops a part of the work together with the whole during the block."""
        stopper = _Stopper(self, part)
        with self._lock:
            self._calls.add(stopper)
        stopper.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(stopper)

    @contextmanager
    def cancelling(self, call: Cancellable) -> Iterator[None]:
        """Cancels the call when the work is stopped during the block, and in any case at its end."""
        with self._lock:
            self._calls.add(call)
            stopped = self._stopped.is_set()
        if stopped:
            call.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)
            call.cancel()  # without effect on one that has ended


class _Stopper:
    """Hands the reason of one on to another."""

    def __init__(self, whole: Halt, part: Halt) -> None:
        self._whole = whole
        self._part = part

    def cancel(self) -> None:
        why = self._whole.why
        if why is not None:
            self._part.stop(why)
