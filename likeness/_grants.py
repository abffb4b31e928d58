"""Grants: what a stage asks for when it is called over plain gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from likeness._resources import Collection
from likeness._transport import without_none
from likeness._types import _FromJson


@dataclass(frozen=True)
class Grant(_FromJson):
    """May call a stage, for one person and one purpose, within a minute.

    Attributes:
        purpose: enroll, speech or swap.
        grant: the token, see `metadata`.
        expires_at: Unix seconds; the call must begin before.
        mark: the number that everything made under it carries.
        profile: of a voice, the fields of a SpeakerProfile.
        sources: of a face, the fields of a MediaReference of each picture.
    """

    id: str
    purpose: str
    metadata_key: str
    expires_at: int
    grant: str = field(repr=False)
    mark: int | None = None
    profile: Mapping[str, Any] | None = None
    sources: Sequence[Mapping[str, Any]] | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For the call: `stub.Method(request, metadata=grant.metadata)`."""
        return ((self.metadata_key, self.grant),)


class Grants(Collection):
    """`client.grants`."""

    def create(
        self,
        *,
        voice: str | None = None,
        face: str | None = None,
        voice_consent: str | None = None,
        face_consent: str | None = None,
        valid_seconds: int | None = None,
    ) -> Grant:
        """Give one of the four: speech in a voice, swaps of a face, or measuring who gave a consent."""
        body = without_none(
            {
                "voice": voice,
                "face": face,
                "voice_consent": voice_consent,
                "face_consent": face_consent,
                "valid_seconds": valid_seconds,
            }
        )
        return Grant.from_json(self._transport.json("POST", self._path, json=body))
