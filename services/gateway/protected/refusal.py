"""Refusing what would clone a protected person, when something is enrolled and each time it is used."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.gateway.auditing import note
from services.gateway.consent import Subject
from services.gateway.consents.templates import context_of, seal, unseal
from services.gateway.context import Gateway
from services.gateway.db import Consent
from services.gateway.protected.registry import Match

FloatArray = NDArray[np.float32]
TEMPLATE: Final = "template"  # of a face's picture, in the face's record
LIVE_KINDS: Final = ("spoken", "filmed")


def require_unprotected_voice(
    gateway: Gateway, embedding: FloatArray, *, consent: Consent | None, field: str | None = None
) -> None:
    """Raises LikenessError PROTECTED_PERSON when the embedding (256,) is that of a protected person."""
    match = gateway.protected.match_voice(np.asarray(embedding, np.float32))
    if match is not None and not _is_own(gateway, match, "voice", consent):
        raise _refusal(match, "voice", field)


def require_unprotected_faces(
    gateway: Gateway, descriptors: Sequence[FloatArray], *, consent: Consent | None, field: str | None = None
) -> None:
    """Raises LikenessError PROTECTED_PERSON when one of the descriptors (128,) is that of a protected person."""
    match = gateway.protected.match_face(descriptors)
    if match is not None and not _is_own(gateway, match, "face", consent):
        raise _refusal(match, "face", field)


def sealed_descriptor(gateway: Gateway, media_id: str, descriptor: FloatArray) -> str:
    """A picture's descriptor as the record of its face keeps it."""
    data = seal(gateway.keys.templates, descriptor, context_of(media_id, "face"))
    return base64.b64encode(data).decode()


def opened_descriptors(gateway: Gateway, pictures: Iterable[dict[str, Any]]) -> list[FloatArray]:
    """The descriptors of a face's pictures; of pictures from before they were kept there are none."""
    return [
        unseal(gateway.keys.templates, base64.b64decode(picture[TEMPLATE]), context_of(picture["media"], "face"))
        for picture in pictures
        if picture.get(TEMPLATE)
    ]


def _is_own(gateway: Gateway, match: Match, subject: Subject, consent: Consent | None) -> bool:
    """Whether the protected person clones themselves, and the policy lets them.

    They do when the tenant that registered them enrols them with a consent of their own, given live: its template is
    that of the same person. Whoever else it may be, the refusal stands.
    """
    if not gateway.policy.protected_self_use or consent is None or consent.template is None:
        return False
    if consent.tenant != match.tenant or consent.kind not in LIVE_KINDS:
        return False
    template = unseal(gateway.keys.templates, consent.template, context_of(consent.id, subject))
    if subject == "voice":
        again = gateway.protected.match_voice(template)
    else:
        again = gateway.protected.match_face([template])
    return again is not None and again.entry_id == match.entry_id


def _refusal(match: Match, subject: Subject, field: str | None) -> LikenessError:
    """Does not say who it is: only the audit has the entry."""
    note(protected=match.entry_id, measure=match.measure)
    what = "voice" if subject == "voice" else "face"
    return LikenessError("PROTECTED_PERSON", f"This {what} is protected: nobody may clone or replace it.", field=field)
