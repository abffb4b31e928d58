"""Waiting for what comes true by itself. The ends are generous: a machine may be busy, and who succeeds never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

Value = TypeVar("Value")

PATIENCE_S: Final = 120.0
PROMPT_S: Final = 15.0  # what happens at once takes less, on a busy machine too; what is waited for takes longer


def wait_for(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition()`.

    Raises:
        TimeoutError: there was none.
    """
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"{condition} did not come true within {timeout_s} s")


def eventually(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> bool:
    """Whether `condition()` comes true."""
    try:
        return bool(wait_for(condition, timeout_s))
    except TimeoutError:
        return False


def settled(look: Callable[[], Value], quiet_s: float = 1.0) -> Value:
    """What `look()` tells once it has told the same for a while."""
    seen, since = look(), time.monotonic()
    while time.monotonic() - since < quiet_s:
        time.sleep(0.02)
        now = look()
        if now != seen:
            seen, since = now, time.monotonic()
    return seen
