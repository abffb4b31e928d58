"""The certificate that signs C2PA manifests, when the operator has none yet: made here, and saying so in its name.

A C2PA signer needs an X.509 v3 certificate that is not self-signed, with the key usage digitalSignature, an extended
key usage for claim signing and the identifiers of both keys (C2PA specification 2.2, "X.509 Certificates"). So there
are two: an authority, whose key is thrown away as soon as it has signed, and the certificate of the signer below it.
Both names begin with DEVELOPMENT: nobody but this installation has a reason to trust them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

DEVELOPMENT: Final = "DEVELOPMENT"  # how the common names of certificates made here begin
CLAIM_SIGNING: Final = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")  # id-kp-c2pa-claimSigning
VALID_DAYS: Final = 3650
SEEDED_FROM: Final = datetime(2026, 11, 1, tzinfo=UTC)
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186, 3.2.1.3
_ORGANISATION: Final = "Likeness (untrusted)"


def make_development_certificate(seed: bytes | None = None) -> bytes:
    """A private key (P-256, for ES256), its certificate and that of its authority: PEM, in this order.

    The authority signs this one certificate and its private key is kept nowhere.

    Args:
        seed: a secret from which keys and certificates follow, byte for byte, so that all processes that hold it sign
            as one; without it they are new.
    """
    begins_at = datetime.now(UTC) if seed is None else SEEDED_FROM
    authority_key, key = _private_key(seed, b"authority"), _private_key(seed, b"signer")
    authority_name = _name("root authority, not for production")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), begins_at)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    certificate = (
        _builder(_name("C2PA signer, not for production"), authority_name, key.public_key(), begins_at)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, CLAIM_SIGNING]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return private + certificate.public_bytes(pem) + authority.public_bytes(pem)


def _private_key(seed: bytes | None, purpose: bytes) -> ec.EllipticCurvePrivateKey:
    if seed is None:
        return ec.generate_private_key(ec.SECP256R1())
    # 128 bits more than the order has, so that the remainder is as good as uniform (FIPS 186-5, A.2.1).
    derived = HKDF(hashes.SHA256(), 48, salt=None, info=b"likeness c2pa " + purpose).derive(seed)
    return ec.derive_private_key(1 + int.from_bytes(derived) % (P256_ORDER - 1), ec.SECP256R1())


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{DEVELOPMENT} {text}"),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins_at: datetime
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(int.from_bytes(identifier.digest[:16]) | 1)
        .not_valid_before(begins_at - timedelta(days=1))  # clocks differ
        .not_valid_after(begins_at + timedelta(days=VALID_DAYS))
        .add_extension(identifier, critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
