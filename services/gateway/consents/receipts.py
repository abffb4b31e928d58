"""Receipts: what the person whose likeness it is gets to keep, signed by the installation.

A receipt is a JSON web token in compact form (RFC 7519, Ed25519 as in RFC 9864) that anybody can check offline with the
public keys at `/.well-known/jwks.json`. It says what was agreed and how that was shown; that the consent still holds it
cannot say.
"""

from __future__ import annotations

from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws, jwt
from joserfc.jwk import OKPKey

from services.gateway.db import Consent

ALGORITHM: Final = "Ed25519"
TYPE: Final = "likeness-consent-receipt+jwt"
ISSUER: Final = "likeness"
PATHS: Final = {"voice": "/v1/audio/voice_consents", "face": "/v1/face_consents"}


def sign_receipt(consent: Consent, key: Ed25519PrivateKey, *, base_url: str, evidence_sha256: str | None) -> str:
    """The receipt of a consent, a compact JWS.

    Args:
        base_url: of this installation, to say where the consent can be revoked.
        evidence_sha256: of the recording, film or document that was kept.
    """
    jwk = _jwk(key)
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": jwk.thumbprint()}
    return jwt.encode(header, _claims(consent, base_url, evidence_sha256), jwk, algorithms=[ALGORITHM])


def read_claims(receipt: str) -> dict[str, Any]:
    """What a receipt of this installation says; not verified, since it comes from the own database."""
    import json

    found: dict[str, Any] = json.loads(jws.extract_compact(receipt.encode()).payload)
    return found


def public_keys(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half as a JSON web key set (RFC 7517)."""
    jwk = _jwk(key)
    return {"keys": [{**jwk.as_dict(private=False), "kid": jwk.thumbprint(), "use": "sig", "alg": ALGORITHM}]}


def _claims(consent: Consent, base_url: str, evidence_sha256: str | None) -> dict[str, Any]:
    proof = consent.proof or {}
    path = f"{PATHS[consent.subject]}/{consent.id}"
    return {
        "iss": base_url or ISSUER,
        "sub": consent.who,
        "jti": consent.id,
        "iat": int(consent.created_at.timestamp()),
        "likeness": consent.subject,
        "kind": consent.kind,
        "uses": consent.uses,
        "languages": consent.languages,
        "purpose": proof.get("purpose"),
        "adult": proof.get("adult"),
        "until": None if consent.expires_at is None else consent.expires_at.isoformat(),
        "evidence": consent.evidence,
        "evidence_sha256": evidence_sha256,
        "attested_by": consent.attested_by,
        "challenge": proof.get("challenge"),
        "measured": {name: value for name, value in proof.items() if isinstance(value, int | float | bool)},
        "recorded_by": consent.recorded_by,
        "revoke": f"POST {base_url}{path}/revoke, or ask whoever runs the installation; from then on nothing is made.",
    }


def _jwk(key: Ed25519PrivateKey) -> OKPKey:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return OKPKey.import_key(pem)
