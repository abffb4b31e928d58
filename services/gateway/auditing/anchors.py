"""Anchors: signed statements of how the audit ended at some time, to be kept where nobody can change them.

An anchor is a JSON web signature (RFC 7515, Ed25519 as in RFC 9864), made with the key of receipts. Who keeps one can
show later that no entry before it was changed, removed or added.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from services.gateway.auditing.chain import head
from services.gateway.db import Database
from services.gateway.db.models import utc_now

ALGORITHM: Final = "Ed25519"
TYPE: Final = "likeness-audit-anchor"
MAX_ANCHOR_BYTES: Final = 4096


class AnchorError(Exception):
    """A text is no anchor, or not one of ours; the message says why."""


@dataclass(frozen=True)
class Anchor:
    """The last entry of the audit at some time: its number and hash."""

    seq: int
    sha256: str
    taken_at: str  # RFC 3339


def take_anchor(database: Database, key: Ed25519PrivateKey) -> str:
    """The audit's end as it is now, signed: a compact JWS."""
    with database.engine.connect() as connection:
        seq, sha256 = head(connection)
    taken_at = utc_now().astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    jwk = _jwk(key)
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": jwk.thumbprint()}
    payload = json.dumps({"seq": seq, "sha256": sha256, "time": taken_at})
    return jws.serialize_compact(header, payload, jwk, algorithms=[ALGORITHM])


def read_anchor(text: str, keys: Sequence[Ed25519PublicKey]) -> Anchor:
    """The anchor in a compact JWS.

    Raises:
        AnchorError: it cannot be read, is something else, or none of the keys has signed it.
    """
    text = text.strip()
    if len(text) > MAX_ANCHOR_BYTES:
        raise AnchorError(f"an anchor has {MAX_ANCHOR_BYTES} characters at most")
    for key in keys:
        try:
            found = jws.deserialize_compact(text, _jwk(key), algorithms=[ALGORITHM])
            if found.headers().get("typ") != TYPE:
                raise AnchorError("the text is signed, but it is no anchor of an audit")
            return _parse(json.loads(found.payload or b""))
        except (JoseError, ValueError):
            continue
    raise AnchorError("the text is no anchor, or not signed with the key of this installation's receipts")


def public_pem(key: Ed25519PublicKey) -> str:
    """As SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _parse(payload: Any) -> Anchor:
    try:
        seq, sha256, taken_at = payload["seq"], payload["sha256"], payload["time"]
        datetime.fromisoformat(taken_at)
    except (KeyError, TypeError, ValueError) as error:
        raise AnchorError(f"the anchor lacks something: {error}") from error
    if not isinstance(seq, int) or not isinstance(sha256, str):
        raise AnchorError("the anchor's number or hash is none")
    return Anchor(seq, sha256, taken_at)


def _jwk(key: Ed25519PrivateKey | Ed25519PublicKey) -> OKPKey:
    if isinstance(key, Ed25519PrivateKey):
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    else:
        pem = public_pem(key).encode()
    return OKPKey.import_key(pem)
