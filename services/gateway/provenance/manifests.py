"""Signed manifests (C2PA): written into the file where its container has a place for one, else beside it.

WAV, MP3, FLAC, PNG, JPEG, WebP and MP4 carry their manifest. Ogg, ADTS, bare PCM and WebM have no place that C2PA
defines, and neither has whatever is sent while it is made: their manifest is a sidecar, bound to the file by its
hash. Nothing is fetched from anywhere, and no time stamp authority is asked.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

import c2pa

from services.common.errors import LikenessError
from services.gateway.provenance.claims import OutputClaim, ingredient_definition, manifest_definition
from services.gateway.provenance.signing_key import SigningKey

EMBEDDING: Final = frozenset(
    {"audio/wav", "audio/mpeg", "audio/flac", "image/png", "image/jpeg", "image/webp", "video/mp4"}
)
SIDECAR_CONTENT_TYPE: Final = "application/c2pa"
WHOLE_FILE: Final = "application/octet-stream"  # as which a sidecar's file is hashed: all of its bytes
OFFLINE: Final = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_SETTINGS: Final = {
    "core": {"backing_store_memory_threshold_in_mb": 64},
    "verify": {**OFFLINE, "verify_after_sign": True},
    "builder": {"thumbnail": {"enabled": False}},
}


@dataclass(frozen=True)
class SignedOutput:
    """A file with its manifest inside, or as it was with the manifest beside it."""

    content: bytes | Path
    sidecar: bytes | None


class ManifestSigner:
    """Signs manifests, in any thread. Made after the fork.

    Raises:
        KeysError, c2pa.C2paError: the key is not fit to sign manifests.
    """

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        self._context = c2pa.Context.from_dict(_SETTINGS, signer=key.make_signer())

    def sign(
        self, content: bytes | Path, content_type: str, claim: OutputClaim, *, detached: bool = False
    ) -> SignedOutput:
        """The file with its manifest; its signature and hash have been verified.

        A path is read in blocks; the signed file lies beside it, under the same name with `.signed` before the
        suffix.

        Args:
            detached: a sidecar in any case, for what has been sent already.

        Raises:
            LikenessError: MANIFEST_FAILED.
        """
        embeds = content_type in EMBEDDING and not detached
        try:
            builder = self._builder(claim, content_type)
            if not embeds:
                builder.set_no_embed()
                with _open(content) as source, _open(content) as mirrored:
                    return SignedOutput(content, builder.sign(WHOLE_FILE, source, _Mirror(mirrored)))
            if isinstance(content, bytes):
                signed = io.BytesIO()
                builder.sign(content_type, io.BytesIO(content), signed)
                return SignedOutput(signed.getvalue(), None)
            path = content.with_name(f"{content.stem}.signed{content.suffix}")
            with content.open("rb") as source, path.open("w+b") as target:
                builder.sign(content_type, source, target)
            return SignedOutput(path, None)
        except (c2pa.C2paError, OSError) as error:
            detail = f"The manifest of the {claim.kind} could not be written, so that nothing is released: {error}"
            raise LikenessError("MANIFEST_FAILED", detail) from error

    def _builder(self, claim: OutputClaim, content_type: str) -> c2pa.Builder:
        """Of an ingredient whose own manifest cannot be read, the hash alone goes into the new one."""
        builder = c2pa.Builder(manifest_definition(claim, content_type), context=self._context)
        try:
            for number, ingredient in enumerate(claim.ingredients):
                if ingredient.content:
                    with _open(ingredient.content) as source:
                        definition = ingredient_definition(ingredient, number)
                        builder.add_ingredient(definition, ingredient.content_type, source)
        except c2pa.C2paError:
            builder.close()
            by_hash = tuple(replace(ingredient, content=None) for ingredient in claim.ingredients)
            return c2pa.Builder(
                manifest_definition(replace(claim, ingredients=by_hash), content_type), context=self._context
            )
        return builder


class _Mirror:
    """Where the library writes an unchanged copy: it reads back the original, and nothing is copied."""

    def __init__(self, original: BinaryIO) -> None:
        self._original = original

    def read(self, size: int = -1) -> bytes:
        return self._original.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._original.seek(offset, whence)

    def tell(self) -> int:
        return self._original.tell()

    def write(self, data: bytes) -> int:
        self._original.seek(len(data), io.SEEK_CUR)
        return len(data)

    def flush(self) -> None:
        """There is nothing to flush."""


@contextmanager
def _open(content: bytes | Path) -> Iterator[BinaryIO]:
    if isinstance(content, bytes):
        yield io.BytesIO(content)
        return
    with content.open("rb") as file:
        yield file
