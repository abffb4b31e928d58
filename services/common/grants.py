"""Grants: what a gateway signs for each call, and a stage verifies before it works.

A grant is a JSON web token (RFC 7519, Ed25519 as in RFC 9864) in the call's metadata. It names what the call is for,
for which tenant, and whose templates may be used: a stage that is called directly, or with the grant of another person,
refuses. It is valid for a minute, in which the call must begin.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, OKPKey

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.keys import KeysError, load_trusted
from services.common.languages import primary_language

METADATA_KEY: Final = "likeness-grant"
ISSUER: Final = "likeness-gateway"
VALID_S: Final = 60
LEEWAY_S: Final = 5  # clocks of two machines
RELOAD_EVERY_S: Final = 10.0
ALGORITHM: Final = "Ed25519"

# enroll: measure who somebody is. calibrate: what the gateway alone listens to. speech, swap: make something, which
# the stage marks with the number that the grant names.
Purpose = Literal["enroll", "calibrate", "speech", "swap"]
MARKED: Final[frozenset[Purpose]] = frozenset({"speech", "swap"})
# What each method may be called for. A method that is not here takes no grant at all.
PURPOSES: Final[dict[str, frozenset[Purpose]]] = {
    "EmbedSpeech": frozenset({"enroll", "calibrate", "speech"}),
    "GuideSpeech": frozenset({"calibrate"}),
    "SynthesizeMel": frozenset({"calibrate", "speech"}),
    "SynthesizeWaveform": frozenset({"calibrate", "speech"}),
    "DetectFaces": frozenset({"enroll", "swap"}),
    "SwapPicture": frozenset({"swap"}),
    "SwapSegment": frozenset({"swap"}),
    "SwapLive": frozenset({"swap"}),
}


@dataclass(frozen=True)
class Grant:
    """What a call may do.

    Attributes:
        likenesses: ids of voices or faces; of those to be, the ids of their consents.
        templates: SHA-256 of each template that may be used, see `voice_template` and `file_template`.
        mark: the number that everything made under it carries, 1 to 2**32 - 1; 0 where nothing is made.
        label: ASCII text that every picture made under it shows; empty for none.
        language: BCP 47 tag of what may be said, in whatever region; empty for any.
    """

    purpose: Purpose
    tenant: str
    likenesses: tuple[str, ...] = ()
    templates: frozenset[str] = frozenset()
    mark: int = 0
    label: str = ""
    language: str = ""

    def require_template(self, template: str, *, field: str) -> None:
        """Raises LikenessError GRANT_MISMATCH unless the grant names that template."""
        if template not in self.templates:
            detail = "The call's grant is for another person than this one, or for another state of the likeness."
            raise LikenessError("GRANT_MISMATCH", detail, field=field)

    def require_language(self, tag: str, *, field: str) -> None:
        """Raises LikenessError GRANT_MISMATCH unless that language (BCP 47) may be spoken."""
        if self.language and primary_language(tag) != primary_language(self.language):
            raise LikenessError("GRANT_MISMATCH", f"The call's grant is for speech in {self.language}.", field=field)


class GrantSigner:
    """Signs grants with a gateway's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = _jwk(key)
        self._header: Final = {"alg": ALGORITHM, "typ": "likeness-grant+jwt", "kid": self._key.thumbprint()}

    def sign(self, grant: Grant, *, valid_s: float = VALID_S) -> str:
        """The token, valid from now on."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + int(valid_s),
            "purpose": grant.purpose,
            "tenant": grant.tenant,
            "likenesses": list(grant.likenesses),
            "templates": sorted(grant.templates),
            "mark": grant.mark,
            "label": grant.label,
            "language": grant.language,
        }
        return jwt.encode(self._header, claims, self._key, algorithms=[ALGORITHM])


class GrantVerifier:
    """Verifies grants with the public keys of a folder, which is read again when its files change."""

    def __init__(self, folder: Path) -> None:
        """Raises KeysError when there is no key."""
        self._folder = folder
        self._lock = threading.Lock()
        self._seen = _state_of(folder)
        self._keys = _key_set(load_trusted(folder))
        self._looked_at = time.monotonic()
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S, iss={"essential": True, "value": ISSUER}, exp={"essential": True}, iat={"essential": True}
        )

    def verify(self, token: str, method: str) -> Grant:
        """The grant in a token.

        Args:
            method: name of the RPC, such as "SynthesizeMel".

        Raises:
            LikenessError: GRANT_REQUIRED, GRANT_INVALID (forged, expired, of a key that is not trusted),
                GRANT_MISMATCH (for another method).
        """
        if not token:
            detail = f"This server works only for grants: send one as metadata {METADATA_KEY!r}; POST /v1/grants mints."
            raise LikenessError("GRANT_REQUIRED", detail)
        claims = self._verified(token)
        purpose = claims["purpose"]
        if purpose not in PURPOSES.get(method, frozenset()):
            raise LikenessError("GRANT_MISMATCH", f"The grant is for {purpose}, which is not what {method} does.")
        mark = int(claims.get("mark", 0))
        if (purpose in MARKED) != (0 < mark < 1 << 32):
            raise LikenessError("GRANT_INVALID", f"A grant for {purpose} without the number of its mark.")
        return Grant(
            purpose,
            claims["tenant"],
            tuple(claims["likenesses"]),
            frozenset(claims["templates"]),
            mark,
            str(claims.get("label", "")),
            str(claims.get("language", "")),
        )

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            decoded = jwt.decode(token, self._current_keys(), algorithms=[ALGORITHM])
            self._claims.validate(decoded.claims)
        except InvalidKeyIdError as error:
            raise LikenessError("GRANT_INVALID", "The grant was signed with a key that is not trusted here.") from error
        except ExpiredTokenError as error:
            raise LikenessError("GRANT_INVALID", "The grant has expired.") from error
        except (JoseError, ValueError, TypeError) as error:
            raise LikenessError("GRANT_INVALID", "The grant is not one of this installation.") from error
        if decoded.header.get("typ") != "likeness-grant+jwt":
            raise LikenessError("GRANT_INVALID", "The token is no grant.")
        return decoded.claims

    def _current_keys(self) -> KeySet:
        with self._lock:
            if time.monotonic() - self._looked_at >= RELOAD_EVERY_S:
                self._looked_at = time.monotonic()
                state = _state_of(self._folder)
                if state != self._seen:
                    with suppress(KeysError):  # half written: the old keys count until the next look
                        self._keys, self._seen = _key_set(load_trusted(self._folder)), state
            return self._keys


_current: ContextVar[Grant | None] = ContextVar("likeness_grant")


@contextmanager
def use_grant(grant: Grant | None) -> Iterator[None]:
    """Makes `grant` that of the request at hand, in this thread; None where grants are not required."""
    _current.set(grant)
    yield


def require_template(template: str, *, field: str) -> None:
    """Raises LikenessError GRANT_MISMATCH unless the request at hand may use that template.

    Raises:
        LookupError: nobody has looked for a grant in this thread.
    """
    grant = _current.get()
    if grant is not None:
        grant.require_template(template, field=field)


def require_language(tag: str, *, field: str) -> None:
    """Raises LikenessError GRANT_MISMATCH unless the request at hand may speak that language.

    Raises:
        LookupError: nobody has looked for a grant in this thread.
    """
    grant = _current.get()
    if grant is not None:
        grant.require_language(tag, field=field)


def granted_mark() -> int:
    """The number that the output of the request at hand must carry; 0 where it needs none.

    Raises:
        LookupError: nobody has looked for a grant in this thread.
    """
    grant = _current.get()
    return 0 if grant is None else grant.mark


def granted_label() -> str:
    """What every picture of the request at hand must show; empty for nothing. Raises LookupError as `granted_mark`."""
    grant = _current.get()
    return "" if grant is None else grant.label


def voice_template(embedding: FloatArray | Sequence[float]) -> str:
    """SHA-256 of a speaker embedding (256,) as little-endian float32."""
    return hashlib.sha256(np.asarray(embedding, "<f4").tobytes()).hexdigest()


def file_template(content: bytes) -> str:
    """SHA-256 of a picture's file."""
    return hashlib.sha256(content).hexdigest()


def _jwk(key: Ed25519PrivateKey | Ed25519PublicKey) -> OKPKey:
    if isinstance(key, Ed25519PrivateKey):
        return OKPKey.import_key(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return OKPKey.import_key(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _key_set(keys: list[Ed25519PublicKey]) -> KeySet:
    found: list[Key] = []
    for key in keys:
        jwk = _jwk(key)
        jwk.ensure_kid()
        found.append(jwk)
    return KeySet(found)


def _state_of(folder: Path) -> list[tuple[str, int, int]]:
    """Kubernetes swaps whole folders behind links: times are those of the files themselves."""
    files = sorted(folder.glob("*.pem")) if folder.is_dir() else []
    return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files]
