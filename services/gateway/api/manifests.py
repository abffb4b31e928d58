"""Manifests that lie beside outputs, as answers."""

from __future__ import annotations

from typing import Any, Final

from flask import Response

from services.common.errors import LikenessError
from services.gateway.api.fields import current_gateway, current_tenant
from services.gateway.db import Media
from services.gateway.downloads import file_response
from services.gateway.media import BESIDE
from services.gateway.provenance.manifests import EMBEDDING, SIDECAR_CONTENT_TYPE
from services.gateway.provenance.release import find_sidecar

MANIFEST_RESPONSES: Final[Any] = {
    200: {
        "description": "The manifest store (JUMBF), signed",
        "content": {SIDECAR_CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}


def has_manifest_beside(media: Media) -> bool:
    """Whether a file is an output that could not carry its manifest, and that is still there."""
    if media.content_type in EMBEDDING or media.purpose in BESIDE:
        return False
    with current_gateway().database.session() as session:
        return find_sidecar(session, media.tenant, media.job_id) is not None


def manifest_response(job_id: str | None, of: str) -> Response:
    """The manifest beside a job's output, for the tenant who asks.

    Raises:
        LikenessError: NOT_FOUND.
    """
    gateway = current_gateway()
    with gateway.database.session() as session:
        sidecar = find_sidecar(session, current_tenant(), job_id)
    if sidecar is None:
        detail = f"There is no manifest beside {of}: an output of a format that can carry one has it inside."
        raise LikenessError("NOT_FOUND", detail)
    return file_response(gateway, sidecar, disposition="attachment")
