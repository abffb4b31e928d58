"""Reading manifests of files that nobody vouches for: what they say, whether it still fits, and who signed it.

The library's reader does it, with nothing fetched from anywhere. Whom it trusts is told here: this installation's own
certificates, and those authorities that the operator named.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from services.common.c2pa_certificate import DEVELOPMENT
from services.common.keys import KeysError
from services.gateway.provenance.claims import PROVENANCE_LABEL
from services.gateway.provenance.manifests import OFFLINE, WHOLE_FILE

MAX_SIDECAR_BYTES: Final = 4 * 1024 * 1024
ManifestState = Literal["valid", "broken", "absent"]
Signer = Literal["own", "trusted", "unknown"]
_JUMBF: Final = b"jumdc2pa"  # how the description box of a manifest store begins
_MAX_PROBLEMS: Final = 10
_MAX_TEXT: Final = 200


@dataclass(frozen=True)
class ManifestReport:
    """What a file's manifest is worth.

    Attributes:
        state: valid: signature and hashes fit the file as it is. broken: they do not, or it cannot be read.
        signer: own: signed by this installation. trusted: by somebody whom the operator's list vouches for.
        development: the certificate says of itself that it is for development, and not to be trusted.
        place: inside the file, or beside it.
        problems: codes of the C2PA specification, or the reader's own words.
        provenance: this project's assertion; only of a valid manifest of our own.
    """

    state: ManifestState
    signer: Signer | None = None
    development: bool = False
    issuer: str | None = None
    place: Literal["inside", "beside"] | None = None
    generator: str | None = None
    source_type: str | None = None
    problems: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrustedCertificates:
    """Whose manifests are whose, in PEM: `own` are signers' certificates, `anchors` those of authorities."""

    own: str
    anchors: str = ""


def load_trusted_certificates(own: x509.Certificate, folder: Path) -> TrustedCertificates:
    """Our certificate, and those in a folder's `*.pem` files: of authorities that are trusted, and of ourselves when
    we had others.

    Raises:
        KeysError: a file holds something else.
    """
    signers: list[x509.Certificate] = [own]
    authorities: list[x509.Certificate] = []
    for path in sorted(folder.glob("*.pem")) if folder.is_dir() else []:
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeysError(f"{path} holds no certificate in PEM: {error}") from error
        for certificate in found:
            (authorities if _is_authority(certificate) else signers).append(certificate)
    return TrustedCertificates(_pem(signers), _pem(authorities))


def read_manifest(
    path: Path, content_type: str, trusted: TrustedCertificates, sidecar: bytes | None = None
) -> ManifestReport:
    """What is in a file's manifest, or in the one beside it, and whether it fits the file.

    Args:
        sidecar: a manifest that came separately; then one inside the file is not looked at.
    """
    try:
        found = _read(path, content_type, sidecar, {"trust_anchors": "", "allowed_list": trusted.own})
        signer: Signer = "own" if found is not None and found["validation_state"] == "Trusted" else "unknown"
        if found is not None and found["validation_state"] == "Valid" and trusted.anchors:
            again = _read(path, content_type, sidecar, {"trust_anchors": trusted.anchors})
            if again is not None and again["validation_state"] == "Trusted":
                signer = "trusted"
    except c2pa.C2paError as error:
        if sidecar is None and not _has_manifest(path):
            return ManifestReport("absent")
        return ManifestReport(
            "broken", place="inside" if sidecar is None else "beside", problems=(str(error)[:_MAX_TEXT],)
        )
    if found is None:
        return ManifestReport("absent")
    return _describe(found, signer, "inside" if sidecar is None else "beside")


def _read(path: Path, content_type: str, sidecar: bytes | None, trust: dict[str, str]) -> dict[str, Any] | None:
    """The manifest store as the library tells it; None where there is none. Raises c2pa.C2paError."""
    if sidecar is None and content_type not in c2pa.Reader.get_supported_mime_types():
        return None
    context = c2pa.Context.from_dict({"verify": OFFLINE, "trust": {"anchors": [{"trust_kind": "manifest", **trust}]}})
    kind = content_type if sidecar is None else WHOLE_FILE
    with path.open("rb") as file:
        reader = c2pa.Reader.try_create(kind, file, sidecar, context)
        if reader is None:
            return None
        with reader:
            store: dict[str, Any] = json.loads(reader.json())
            return store


def _describe(store: dict[str, Any], signer: Signer, place: Literal["inside", "beside"]) -> ManifestReport:
    active = store.get("manifests", {}).get(store.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    assertions = {
        item.get("label"): item.get("data") for item in active.get("assertions", []) if isinstance(item, dict)
    }
    is_valid = store.get("validation_state") in ("Valid", "Trusted")
    generator: dict[str, Any] = next(iter(active.get("claim_generator_info") or []), {})
    own = assertions.get(PROVENANCE_LABEL)
    return ManifestReport(
        state="valid" if is_valid else "broken",
        signer=signer,
        development=str(signature.get("common_name", "")).startswith(DEVELOPMENT),
        issuer=_text(signature.get("common_name") or signature.get("issuer")),
        place=place,
        generator=_text(generator.get("name")),
        source_type=_text(_source_type(assertions)),
        problems=_problems(store),
        provenance=own if is_valid and signer == "own" and isinstance(own, dict) else {},
    )


def _source_type(assertions: dict[Any, Any]) -> object:
    for label, data in assertions.items():
        if str(label).startswith("c2pa.actions") and isinstance(data, dict):
            for action in data.get("actions", []):
                if isinstance(action, dict) and action.get("digitalSourceType"):
                    return action["digitalSourceType"]
    return None


def _problems(store: dict[str, Any]) -> tuple[str, ...]:
    """Codes of what failed, but for the signer's not being on the list, which `signer` tells."""
    results = (store.get("validation_results") or {}).get("activeManifest") or {}
    codes = [str(item.get("code")) for item in results.get("failure", []) if isinstance(item, dict)]
    return tuple(dict.fromkeys(code for code in codes if code != "signingCredential.untrusted"))[:_MAX_PROBLEMS]


def _has_manifest(path: Path) -> bool:
    """Whether there is anything like a manifest store in a file."""
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_JUMBF) >= 0


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode() for item in certificates)


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:_MAX_TEXT]
