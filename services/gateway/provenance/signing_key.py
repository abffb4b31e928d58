"""Whose signature manifests carry: a private key with its certificates, or a function that has the key elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from services.common.c2pa_certificate import DEVELOPMENT
from services.common.keys import KeysError

SignFunction = Callable[[bytes], bytes]
_CURVES: Final = {
    "secp256r1": c2pa.C2paSigningAlg.ES256,
    "secp384r1": c2pa.C2paSigningAlg.ES384,
    "secp521r1": c2pa.C2paSigningAlg.ES512,
}


@dataclass(frozen=True)
class SigningKey:
    """What `c2pa.pem` holds.

    `sign`, where there is one, is used instead of a private key: it gets what is to be signed and returns the
    signature (for EC keys r and s side by side, IEEE P1363).
    """

    algorithm: c2pa.C2paSigningAlg
    certificates: tuple[x509.Certificate, ...]  # the signer's own first, then of those that vouch for it
    private_pem: bytes | None
    sign: SignFunction | None = None

    @property
    def chain_pem(self) -> bytes:
        return b"".join(item.public_bytes(serialization.Encoding.PEM) for item in self.certificates)

    @property
    def is_development(self) -> bool:
        """Whether the certificate was made by this software, for nobody else to trust."""
        return common_name(self.certificates[0]).startswith(DEVELOPMENT)

    def make_signer(self) -> c2pa.Signer:
        """A signer of C2PA's library. Raises c2pa.C2paError when it does not like key or certificate."""
        if self.sign is not None:
            return c2pa.Signer.from_callback(self.sign, self.algorithm, self.chain_pem.decode())
        info = c2pa.C2paSignerInfo(self.algorithm, self.chain_pem, self.private_pem, None)
        return c2pa.Signer.from_info(info)


def load_signing_key(pem: bytes, sign: SignFunction | None = None) -> SigningKey:
    """A private key (PKCS #8 or SEC 1: EC on P-256, P-384 or P-521, Ed25519, RSA) and its certificates.

    Args:
        sign: signs instead of a private key, which `pem` then needs not have.

    Raises:
        KeysError: something is missing, or key and certificate do not belong together.
    """
    try:
        certificates = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise KeysError(f"c2pa.pem holds no certificate in PEM: {error}") from error
    public = certificates[0].public_key()
    if sign is not None:
        return SigningKey(_algorithm(public), certificates, None, sign)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise KeysError(f"c2pa.pem holds no private key in PEM: {error}") from error
    if _spki(private.public_key()) != _spki(public):
        raise KeysError("c2pa.pem: the first certificate is not that of the private key")
    private_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return SigningKey(_algorithm(public), certificates, private_pem)


def load_function(name: str) -> SignFunction | None:
    """The function that `module:function` names; None for an empty name. Raises KeysError when it is not there."""
    if not name:
        return None
    module, _, function = name.partition(":")
    try:
        found: SignFunction = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise KeysError(f"the function {name}, which signs manifests, cannot be loaded: {error}") from error
    return found


def common_name(certificate: x509.Certificate) -> str:
    """The common name of a certificate's subject; empty where it has none."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _algorithm(public: object) -> c2pa.C2paSigningAlg:
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        return _CURVES[public.curve.name]
    if isinstance(public, ed25519.Ed25519PublicKey):
        return c2pa.C2paSigningAlg.ED25519
    if isinstance(public, rsa.RSAPublicKey):
        return c2pa.C2paSigningAlg.PS256
    raise KeysError("c2pa.pem: C2PA signs with EC keys on P-256, P-384 or P-521, with Ed25519, or with RSA")


def _spki(key: object) -> bytes:
    public = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return bytes(public)
