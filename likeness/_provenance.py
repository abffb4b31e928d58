"""Where a file comes from: `client.verify`, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

from likeness._resources import FileInput, file_part
from likeness._transport import Transport, without_none
from likeness._types import _FromJson


@dataclass(frozen=True)
class Origin(_FromJson):
    """An output that a file comes from. Job, media and consent are told to the tenant whose output it is."""

    made_at: str
    kind: str
    evidence: list[str]  # file, manifest, mark
    unchanged: bool | None = None
    number: int | None = None
    job: str | None = None
    media: str | None = None
    consent: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Verification(_FromJson):
    """Whether a file was made here, and by what that is known. Nothing found proves nothing."""

    made_here: bool
    summary: str
    content_type: str
    sha256: str
    manifest: Mapping[str, Any]
    marks: Sequence[Mapping[str, Any]] = ()
    origins: Sequence[Origin] = field(default_factory=tuple)
    unsearched: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        origins = tuple(Origin.from_json(item) for item in value.get("origins", ()))
        return super().from_json({**value, "origins": origins})


def verify(
    transport: Transport,
    file: FileInput | None,
    *,
    media: str | None = None,
    manifest: FileInput | None = None,
    format: str | None = None,
) -> Verification:
    """Sends a file, or the id of one that the server keeps."""
    with ExitStack() as opened:
        parts = []
        if file is not None:
            parts.append(("file", file_part(file, opened, "file")))
        if manifest is not None:
            parts.append(("manifest", file_part(manifest, opened, "manifest.c2pa")))
        fields = without_none({"media": media, "format": format})
        if not parts:  # multipart all the same
            parts.append(("media", (None, fields.pop("media", ""))))  # type: ignore[arg-type]
        return Verification.from_json(transport.json("POST", "/v1/verify", data=fields, files=parts))
