"""Mutual TLS between gateway, worker and stages: the files of a folder, and what gRPC makes of them.

| file | what it is |
|---|---|
| `tls.crt` | this program's certificate, and those of the authorities between it and a root |
| `tls.key` | its private key |
| `ca.crt` | the authorities whose certificates the other side must show |

These are the names of a Kubernetes TLS Secret. Renewed files are taken up while the program runs. There is no way back
to plain text: what cannot be used at the start is refused, and later it leaves the last good files in use.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from services.common.keys import KeysError

CERTIFICATE: Final = "tls.crt"
PRIVATE_KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
CHECK_EVERY_S: Final = 10.0
_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
_log: Final = logging.getLogger(__name__)


class TlsError(KeysError):
    """A file that TLS needs is not there or does not fit; the message says which."""


@dataclass(frozen=True)
class TlsFiles:
    """Contents of the three files, PEM."""

    certificate: bytes
    private_key: bytes
    authorities: bytes


def read_tls(folder: Path) -> TlsFiles:
    """Reads and checks the three files.

    Raises:
        TlsError: one is missing, cannot be read or is not what it should be; the key is another certificate's; the
            certificate has expired.
    """
    certificate, private_key, authorities = (_read(folder / name) for name in (CERTIFICATE, PRIVATE_KEY, AUTHORITIES))
    leaf = _certificates(folder / CERTIFICATE, certificate)[0]
    _certificates(folder / AUTHORITIES, authorities)
    try:
        key = serialization.load_pem_private_key(private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsError(f"{folder / PRIVATE_KEY} holds no private key as PEM without a password.") from None
    if key.public_key().public_bytes(*_PUBLIC) != leaf.public_key().public_bytes(*_PUBLIC):
        raise TlsError(
            f"{folder / PRIVATE_KEY} is not the key of the certificate in {CERTIFICATE}; renew both together."
        )
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise TlsError(f"{folder / CERTIFICATE} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it.")
    return TlsFiles(certificate, private_key, authorities)


class TlsFolder:
    """The files of a folder as they are now, looked at again every `CHECK_EVERY_S`.

    Raises TlsError, when it is made, as `read_tls`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._state = _state_of(folder)
        self._files = read_tls(folder)
        self._checked_at_s = time.monotonic()

    def current(self) -> TlsFiles:
        """The same object until the files change."""
        with self._lock:
            now_s = time.monotonic()
            if now_s - self._checked_at_s >= CHECK_EVERY_S:
                self._checked_at_s = now_s
                self._renew()
            return self._files

    def _renew(self) -> None:
        # Before the files are read: when they change while they are read, the next look finds another state.
        state = _state_of(self._folder)
        if state == self._state:
            return
        self._state = state
        try:
            self._files = read_tls(self._folder)
            _log.info("takes up renewed certificates", extra={"folder": str(self._folder)})
        except TlsError as error:
            _log.warning("keeps the certificates it has: %s", error)


def server_credentials(folder: TlsFolder) -> grpc.ServerCredentials:
    """Of a server that refuses clients without a certificate of its authorities; each handshake uses current files."""
    given = folder.current()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        files = folder.current()
        if files is given:
            return None
        given = files
        return _server_configuration(files)

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(given),
        renewed,  # type: ignore[arg-type]  # the stubs do not know that None is for no change
        require_client_authentication=True,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Of a client that shows its certificate and checks the server's name. A channel keeps them for its life."""
    return grpc.ssl_channel_credentials(files.authorities, files.private_key, files.certificate)


def _server_configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(files.private_key, files.certificate)], files.authorities)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(
            f"{path} cannot be read ({error.strerror}). The folder of LIKENESS_TLS_DIR must hold {CERTIFICATE}, "
            f"{PRIVATE_KEY} and {AUTHORITIES}."
        ) from error


def _certificates(path: Path, content: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise TlsError(f"{path} holds no certificate as PEM.") from None


def _state_of(folder: Path) -> list[tuple[int, int, int] | None]:
    """Kubernetes swaps whole folders behind links: what counts are the files themselves."""
    return [_state(folder / name) for name in (CERTIFICATE, PRIVATE_KEY, AUTHORITIES)]


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
