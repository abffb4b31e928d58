"""Where a file comes from: manifests that say so, and finding it out from a file."""

from services.gateway.provenance.claims import Ingredient, OutputClaim, OutputKind
from services.gateway.provenance.manifests import EMBEDDING, ManifestSigner, SignedOutput
from services.gateway.provenance.signing_key import SigningKey, load_signing_key

__all__ = [
    "EMBEDDING",
    "Ingredient",
    "ManifestSigner",
    "OutputClaim",
    "OutputKind",
    "SignedOutput",
    "SigningKey",
    "load_signing_key",
]
