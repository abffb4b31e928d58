"""The key that a data folder gets when its stack starts for the first time."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

BOOTSTRAP_VARIABLE: Final = "LIKENESS_BOOTSTRAP_KEY"
MARKER: Final = "first-key"


def first_key(data_dir: Path) -> str | None:
    """A new key for the gateway to take, or None where one was made before or the settings name one."""
    if os.environ.get(BOOTSTRAP_VARIABLE) or (data_dir / MARKER).exists():
        return None
    return f"lk_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def remember_first_key(data_dir: Path, key: str) -> None:
    """Notes, once the key was shown, that there was one: its beginning, by which it can be recognised."""
    (data_dir / MARKER).write_text("_".join(key.split("_")[:2]) + "\n")
