"""Refusing what would clone a protected person, when something is enrolled and each time it is used."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.common.grants import Grant
from services.common.profile import SpeakerProfile
from services.gateway.auditing import note
from services.gateway.consent import USE_OF_SUBJECT, Subject, require_live_consent
from services.gateway.consents.templates import context_of, seal, unseal
from services.gateway.context import Gateway
from services.gateway.db import Consent, Face, Media, Voice, find
from services.gateway.media import picture_for_stage, reference_to
from services.gateway.profiles import load_profile
from services.gateway.protected.registry import Match
from services.gateway.stages import Call, fields_called

FloatArray = NDArray[np.float32]
TEMPLATE: Final = "template"  # of a face's picture, sealed, in the face's record
LIVE_KINDS: Final = ("spoken", "filmed")
LOOK_S: Final = 30.0  # for the stage to look at a picture


def require_unprotected_voice(
    gateway: Gateway,
    embedding: FloatArray,
    *,
    consent: Consent | None,
    session: Session | None = None,
    field: str | None = None,
) -> None:
    """Raises LikenessError PROTECTED_PERSON when the embedding (256,) is that of a protected person."""
    match = gateway.protected.match_voice(np.asarray(embedding, np.float32), session)
    if match is not None and not _is_own(gateway, match, "voice", consent, session):
        raise _refusal(match, "voice", field)


def require_unprotected_faces(
    gateway: Gateway,
    descriptors: Sequence[FloatArray],
    *,
    consent: Consent | None,
    session: Session | None = None,
    field: str | None = None,
) -> None:
    """Raises LikenessError PROTECTED_PERSON when one of the descriptors (128,) is that of a protected person."""
    match = gateway.protected.match_face(descriptors, session)
    if match is not None and not _is_own(gateway, match, "face", consent, session):
        raise _refusal(match, "face", field)


def require_usable(
    gateway: Gateway,
    session: Session,
    likeness: Voice | Face,
    *,
    field: str,
    language: str | None = None,
    profile: SpeakerProfile | None = None,
) -> Consent:
    """The consent of an enrolled voice or face, when that may be used now; called each time that it is.

    Args:
        language: that is to be spoken.
        profile: of the voice, where it has been loaded.

    Raises:
        LikenessError: CONSENT_* unless the consent is live for this; PROTECTED_PERSON, also when the person was
            protected later.
    """
    subject: Subject = "voice" if isinstance(likeness, Voice) else "face"
    consent = require_live_consent(
        session,
        likeness.tenant,
        likeness.consent_id,
        subject=subject,
        use=USE_OF_SUBJECT[subject],
        language=language,
        field=field,
    )
    if isinstance(likeness, Voice):
        embedding = (profile or load_profile(likeness)).embedding
        require_unprotected_voice(gateway, embedding, consent=consent, session=session, field=field)
    elif gateway.protected.has("face", session):
        descriptors = _descriptors_of(gateway, session, likeness)
        require_unprotected_faces(gateway, descriptors, consent=consent, session=session, field=field)
    return consent


def require_unprotected_picture(gateway: Gateway, tenant: str, picture: bytes, request_id: str, *, field: str) -> None:
    """The same for who is in a picture that nothing was enrolled from, such as a swap's reference."""
    if gateway.protected.has("face"):
        call = Call.within(LOOK_S, request_id, Grant("enroll", tenant))
        with picture_for_stage(gateway, tenant, picture) as message, fields_called({"": field, "picture": field}):
            descriptors = _largest(gateway, message, call)
        require_unprotected_faces(gateway, descriptors, consent=None, field=field)


def sealed_descriptor(gateway: Gateway, media_id: str, descriptor: FloatArray) -> str:
    """A picture's descriptor as the record of its face keeps it; goes when the face is deleted."""
    data = seal(gateway.keys.templates, descriptor, context_of(media_id, "face"))
    return base64.b64encode(data).decode()


def _descriptors_of(gateway: Gateway, session: Session, face: Face) -> list[FloatArray]:
    """The descriptors of a face's pictures. Those of faces from before they were kept are taken now, and kept."""
    if not all(picture.get(TEMPLATE) for picture in face.pictures):
        face.pictures = [_with_template(gateway, session, face, picture) for picture in face.pictures]
    return [
        unseal(gateway.keys.templates, base64.b64decode(picture[TEMPLATE]), context_of(picture["media"], "face"))
        for picture in face.pictures
    ]


def _with_template(gateway: Gateway, session: Session, face: Face, picture: dict[str, Any]) -> dict[str, Any]:
    if picture.get(TEMPLATE):
        return picture
    media = find(session, Media, face.tenant, picture["media"], what="picture")
    message = faceswap_pb2.Picture(media=reference_to(gateway, media))
    call = Call.within(LOOK_S, face.id, Grant("enroll", face.tenant, (face.id,)))
    found = _largest(gateway, message, call)
    if not found:
        detail = f"No face is found any more in {media.id}, so that it cannot be compared. Enrol the face anew."
        raise LikenessError("FACE_NOT_FOUND", detail, field="face")
    return {**picture, TEMPLATE: sealed_descriptor(gateway, media.id, found[0])}


def _largest(gateway: Gateway, picture: faceswap_pb2.Picture, call: Call) -> list[FloatArray]:
    """The descriptor of the largest face, if there is a face."""
    request = faceswap_pb2.DetectFacesRequest(picture=picture, with_descriptors=True)
    return [np.array(face.descriptor, np.float32) for face in gateway.stages.detect_faces(request, call).faces[:1]]


def _is_own(gateway: Gateway, match: Match, subject: Subject, consent: Consent | None, session: Session | None) -> bool:
    """Whether the protected person clones themselves, and the policy lets them.

    They do when the tenant that registered them enrols them with a consent of their own, given live: its template is
    that of the same person. Whoever else it may be, the refusal stands.
    """
    if not gateway.policy.protected_self_use or consent is None or consent.template is None:
        return False
    if consent.tenant != match.tenant or consent.kind not in LIVE_KINDS or consent.subject != subject:
        return False
    template = unseal(gateway.keys.templates, consent.template, context_of(consent.id, subject))
    known = gateway.protected
    again = known.match_voice(template, session) if subject == "voice" else known.match_face([template], session)
    return again is not None and again.entry_id == match.entry_id


def _refusal(match: Match, subject: Subject, field: str | None) -> LikenessError:
    """Does not say who it is: only the audit has the entry."""
    note(protected=match.entry_id, measure=match.measure)
    return LikenessError(
        "PROTECTED_PERSON", f"This {subject} is protected: nobody may clone or replace it.", field=field
    )
