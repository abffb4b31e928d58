"""Identifiers: a prefix that tells the kind, then time and chance, so that they sort by creation."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Final

_lock: Final = threading.Lock()
_last_ms = 0


def new_id(prefix: str) -> str:
    """A new identifier such as `voice_0193f0c1b2a34f...`: 48 bits of milliseconds, 64 bits of chance.

    Within one process later ones sort after earlier ones.
    """
    global _last_ms
    with _lock:
        _last_ms = max(_last_ms + 1, time.time_ns() // 1_000_000)
        milliseconds = _last_ms
    return f"{prefix}_{milliseconds:012x}{secrets.token_hex(8)}"
