"""API keys as text: `lk_<prefix>_<secret>`. The prefix finds the record, the hash of the whole proves the key."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final

KEY_MARK: Final = "lk_"
PREFIX_BYTES: Final = 6
SECRET_BYTES: Final = 32
_KEY: Final = re.compile(r"(lk_[0-9a-f]{12})_[A-Za-z0-9_-]{32,128}")
_NO_HASH: Final = "0" * 64


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: `text` is shown once, the rest is kept."""

    text: str
    prefix: str
    sha256: str


def make_key() -> NewKey:
    """A key of 256 random bits, for which a fast hash is good enough."""
    prefix = KEY_MARK + secrets.token_hex(PREFIX_BYTES)
    return read_key(f"{prefix}_{secrets.token_urlsafe(SECRET_BYTES)}")


def read_key(text: str) -> NewKey:
    """The parts of a key. Raises ValueError when it does not look like one."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError("a key looks like lk_<12 hexadecimal digits>_<32 or more letters, digits, - and _>")
    return NewKey(text, found[1], hashlib.sha256(text.encode()).hexdigest())


def is_same_key(key: NewKey, sha256: str | None) -> bool:
    """In the same time whether it is right, wrong or unknown (None)."""
    return hmac.compare_digest(key.sha256, sha256 or _NO_HASH)
