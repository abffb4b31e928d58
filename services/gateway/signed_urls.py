"""URLs of the gateway that work for a short time without an API key: who has one was given it by somebody with a key.

A URL is signed with HMAC-SHA256 over method, path and time of expiry. The key is an object of the store, so that all
gateways that share a store share it, and whoever can read it could read the media, too.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Any, Final
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from services.common.errors import LikenessError
from services.common.store import ObjectStore

KEY_OBJECT: Final = "keys/url-signing"
KEY_BYTES: Final = 32
_keys: Final[WeakKeyDictionary[Any, bytes]] = WeakKeyDictionary()


def sign_path(store: ObjectStore, method: str, path: str, expires_at: int) -> str:
    """The path with its query. `expires_at` is in Unix seconds."""
    signature = _signature(store, method, path, expires_at)
    return f"{path}?{urlencode({'expires': expires_at, 'signature': signature})}"


def check_signature(store: ObjectStore, method: str, path: str, expires_at: int, signature: str) -> None:
    """Raises LikenessError SIGNATURE_INVALID unless this gateway signed that, and not too long ago."""
    if not hmac.compare_digest(_signature(store, method, path, expires_at).encode(), signature.encode()):
        raise LikenessError("SIGNATURE_INVALID", "The signature is not that of this URL. Ask for a new URL.")
    if time.time() >= expires_at:
        raise LikenessError("SIGNATURE_INVALID", "The URL has expired. Ask for a new one.")


def _signature(store: ObjectStore, method: str, path: str, expires_at: int) -> str:
    return hmac.new(_key(store), f"{method}\n{path}\n{expires_at}".encode(), hashlib.sha256).hexdigest()


def _key(store: Any) -> bytes:
    """Made by whoever needs it first, and read once."""
    key: bytes | None = _keys.get(store)
    if key is None:
        store.put_once(KEY_OBJECT, secrets.token_bytes(KEY_BYTES))
        key = _keys[store] = store.get(KEY_OBJECT, KEY_BYTES)
    return key
