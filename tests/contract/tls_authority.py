"""An authority and the certificates it signs, laid out as the kubelet mounts a Secret."""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
HOUR: Final = timedelta(hours=1)


def pem_of(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


class Authority:
    """Signs certificates without a subject, whose names are alternative names, as cert-manager makes them."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        builder = self._builder(self.key, HOUR).subject_name(self._name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, usage: x509.ObjectIdentifier = SERVER, valid: timedelta = HOUR) -> dict[str, bytes]:
        """The three files of a certificate for DNS names and IP addresses; `valid` from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(key, valid).subject_name(x509.Name([]))
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return {"tls.crt": certificate, "tls.key": pem_of(key), "ca.crt": self.pem}

    def _builder(self, key: ec.EllipticCurvePrivateKey, valid: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(min(now, now + valid) - HOUR).not_valid_after(now + valid)


def mount(folder: Path, files: dict[str, bytes]) -> Path:
    """Puts files into a folder, or others in their place: all at once, by turning one link."""
    folder.mkdir(exist_ok=True)
    number = len(list(folder.glob("..*")))
    version = folder / f"..{number}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
    (folder / "..new").symlink_to(version.name)
    os.replace(folder / "..new", folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return folder


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
