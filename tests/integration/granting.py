"""Plain channels to stages of a running stack, whose calls carry grants as a gateway signs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from services.common.client import CallDetails
from services.common.grants import METADATA_KEY, Grant, GrantSigner, Purpose, file_template, voice_template
from services.common.keys import load_private_key

PURPOSES: dict[str, Purpose] = {
    "EmbedSpeech": "enroll",
    "DetectFaces": "enroll",
    "SynthesizeMel": "speech",
    "SynthesizeWaveform": "speech",
}


class _Granting(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Grants each call what it asks for."""

    def __init__(self, signer: GrantSigner) -> None:
        self._signer = signer

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if "grpc.health" in details.method or "reflection" in details.method:
            return continuation(details, request)
        purpose = PURPOSES.get(method, "swap")
        grant = Grant(purpose, "local", (), _templates(request), mark=0 if purpose == "enroll" else 77)
        metadata = [*(details.metadata or ()), (METADATA_KEY, self._signer.sign(grant))]
        return continuation(
            CallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready, None),
            request,
        )

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _call


def _templates(request: Any) -> frozenset[str]:
    """Of the person, or people, that a message names."""
    if hasattr(request, "speaker"):
        return frozenset({voice_template(list(request.speaker.embedding))})
    sources = [source for assignment in getattr(request, "assignments", ()) for source in assignment.sources]
    if hasattr(request, "source"):
        sources.append(request.source)
    return frozenset(source.media.sha256 or file_template(source.encoded) for source in sources)


def granting_channel(address: str, keys_dir: Path) -> grpc.Channel:
    signer = GrantSigner(load_private_key(keys_dir / "grant.pem"))
    return grpc.intercept_channel(grpc.insecure_channel(address), _Granting(signer))
