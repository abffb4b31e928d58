"""Secrets that sign, seal and mark: files of one folder, made when they are absent.

| file | what it is | who needs it |
|---|---|---|
| `mark.key` | 32 bytes as hex: where the invisible marks lie | gateway, worker, vocoder, faceswap |
| `templates.key` | 32 bytes as hex: AES-256-GCM, for biometric templates at rest | gateway, worker |
| `grant.pem` | Ed25519 private key: signs grants | gateway, worker |
| `grants/*.pem` | public keys, or certificates with them, whose grants stages take | stages |
| `receipts.pem` | Ed25519 private key: signs consent receipts and audit anchors | gateway, worker |
| `c2pa.pem` | private key and certificates of who signs C2PA manifests | gateway, worker |

`python -m services.common.keys FOLDER` makes what is absent. Keys are PEM (PKCS #8, SubjectPublicKeyInfo, X.509).
Whoever lacks a file that it needs refuses to start; only `c2pa.pem` may be absent.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.common.c2pa_certificate import make_development_certificate

MARK: Final = "mark.key"
TEMPLATES: Final = "templates.key"
GRANT: Final = "grant.pem"
TRUSTED: Final = "grants"
RECEIPTS: Final = "receipts.pem"
C2PA: Final = "c2pa.pem"
SECRET_BYTES: Final = 32


class KeysError(Exception):
    """A key that is needed is not there, or is none; the message says which file."""


@dataclass(frozen=True)
class Keys:
    """What gateway and worker hold."""

    mark: bytes
    templates: bytes
    grant: Ed25519PrivateKey
    receipts: Ed25519PrivateKey
    c2pa: bytes  # PEM


def make_keys(folder: Path) -> list[str]:
    """Makes what is absent, readable by this user alone, and returns the names of the new files.

    Safe when several processes do it at once: the first file of a name stays.
    """
    makers: dict[str, Callable[[], bytes]] = {
        MARK: _new_secret,
        TEMPLATES: _new_secret,
        GRANT: _new_private_key,
        RECEIPTS: _new_private_key,
        C2PA: make_development_certificate,
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = [
        name for name, make in makers.items() if not (folder / name).exists() and _write_once(folder / name, make())
    ]
    trusted = folder / TRUSTED
    trusted.mkdir(exist_ok=True)
    public = _public_pem(load_private_key(folder / GRANT).public_key())
    if not any(path.read_bytes() == public for path in trusted.glob("*.pem")):
        number = len(list(trusted.glob("*.pem"))) + 1
        if _write_once(trusted / f"{number}.pem", public):
            made.append(f"{TRUSTED}/{number}.pem")
    return made


def load_keys(folder: Path) -> Keys:
    """All that gateway and worker need.

    Without `c2pa.pem` a development certificate follows from the key of receipts.

    Raises:
        KeysError: another file is missing, or one is unreadable.
    """
    return Keys(
        mark=load_secret(folder / MARK),
        templates=load_secret(folder / TEMPLATES),
        grant=load_private_key(folder / GRANT),
        receipts=load_private_key(folder / RECEIPTS),
        c2pa=_read(folder / C2PA) if (folder / C2PA).exists() else _derived_certificate(folder),
    )


def _derived_certificate(folder: Path) -> bytes:
    """A development certificate that is the same in every process with these keys."""
    return make_development_certificate(load_private_key(folder / RECEIPTS).private_bytes_raw())


def load_secret(path: Path) -> bytes:
    """The 32 bytes of a `.key` file. Raises KeysError."""
    try:
        secret = bytes.fromhex(_read(path).decode("ascii").strip())
    except ValueError as error:
        raise KeysError(f"{path} must hold {2 * SECRET_BYTES} hexadecimal digits") from error
    if len(secret) != SECRET_BYTES:
        raise KeysError(f"{path} must hold {2 * SECRET_BYTES} hexadecimal digits, not {2 * len(secret)}")
    return secret


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises KeysError."""
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeysError(f"{path} is no private key in PEM: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeysError(f"{path} must be an Ed25519 key")
    return key


def load_trusted(folder: Path) -> list[Ed25519PublicKey]:
    """Public keys of a folder's `*.pem` files: bare ones, or those of certificates.

    Raises:
        KeysError: there is none, or a file holds something else.
    """
    paths = sorted(folder.glob("*.pem")) if folder.is_dir() else []
    if not paths:
        raise KeysError(f"{folder} holds no public key (*.pem) of a gateway")
    return [load_public_key(path) for path in paths]


def load_public_key(path: Path) -> Ed25519PublicKey:
    """A bare public key, or that of a certificate. Raises KeysError."""
    data = _read(path)
    try:
        if b"BEGIN CERTIFICATE" in data:
            key = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = serialization.load_pem_public_key(data)  # type: ignore[assignment]
    except ValueError as error:
        raise KeysError(f"{path} is no public key in PEM: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeysError(f"{path} must be an Ed25519 key")
    return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeysError(f"{path} is needed: {error.strerror}") from error


def _new_secret() -> bytes:
    return secrets.token_hex(SECRET_BYTES).encode()


def _new_private_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_once(path: Path, content: bytes) -> bool:
    """Whether the file is ours: it appears whole, or not at all, and never replaces another."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


if __name__ == "__main__":
    for name in make_keys(Path(sys.argv[1])):
        print(f"made {sys.argv[1]}/{name}")
