"""Biometric templates at rest: AES-256-GCM over the vector, bound to the record that it belongs to.

The form is one byte of version, a random 96-bit nonce, then ciphertext and tag (NIST SP 800-38D). The context that is
bound with it is not stored: a template copied into another record does not open there. Random nonces allow 2^32
templates under one key, far beyond what a table holds.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from services.common.errors import LikenessError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
FLOAT_BYTES: Final = 4
VERSION: Final = b"\x01"


def context_of(record_id: str, subject: str) -> str:
    """What the template of a record is bound to."""
    return f"{record_id} {subject}"


def seal(key: bytes, vector: NDArray[np.float32], context: str) -> bytes:
    """Encrypts a vector (n,) under a key of 32 bytes; `context` names the record and the subject.

    Raises:
        ValueError: for a key of another length, or what is not one finite vector.
    """
    plain = np.ascontiguousarray(vector, dtype="<f4")
    if plain.ndim != 1 or plain.size == 0 or not np.isfinite(plain).all():
        raise ValueError(f"a template is one vector of finite numbers, got the shape {plain.shape}")
    nonce = os.urandom(NONCE_BYTES)
    return VERSION + nonce + _cipher(key).encrypt(nonce, plain.tobytes(), _bound(context))


def unseal(key: bytes, data: bytes, context: str) -> NDArray[np.float32]:
    """The vector (n,) that was sealed for this context.

    Raises:
        LikenessError: TEMPLATE_UNREADABLE when the key or the context is another, or a byte was changed.
    """
    smallest = len(VERSION) + NONCE_BYTES + FLOAT_BYTES + TAG_BYTES
    if len(data) < smallest or data[:1] != VERSION:
        raise LikenessError("TEMPLATE_UNREADABLE", f"The template of {context!r} is not in a form that is known.")
    nonce, rest = data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :]
    try:
        plain = _cipher(key).decrypt(nonce, rest, _bound(context))
    except InvalidTag as error:
        detail = f"The template of {context!r} does not open: templates.key is another one, or the record was changed."
        raise LikenessError("TEMPLATE_UNREADABLE", detail) from error
    return np.frombuffer(plain, dtype="<f4").astype(np.float32)


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"the templates' key has {KEY_BYTES} bytes, got {len(key)}")
    return AESGCM(key)


def _bound(context: str) -> bytes:
    """Version and context together, so that neither can be exchanged."""
    return VERSION + context.encode()
