"""Enrolment of a face: pictures of one person. Nothing is read before the consent was checked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.common.grants import Grant
from services.gateway.consent import require_live_consent
from services.gateway.consents.filmed import require_consenting_face
from services.gateway.consents.safety import require_safe_pictures
from services.gateway.context import Gateway
from services.gateway.db import Face
from services.gateway.db.models import utc_now
from services.gateway.enrolment import keep, name_taken
from services.gateway.ids import new_id
from services.gateway.media import picture_for_stage, publish
from services.gateway.message_records import message_record
from services.gateway.protected.refusal import TEMPLATE, require_unprotected_faces, sealed_descriptor
from services.gateway.stages import Call, fields_called
from services.gateway.uploads import picture_content_type

MAX_PICTURES: Final = 16
SAME_PERSON: Final = 0.6  # dlib's threshold of its face recogniser's distance
DESCRIPTOR_SIZE: Final = 128
FIELD: Final = "picture"


@dataclass(frozen=True)
class FaceOrder:
    """A face to be enrolled from picture files of one person; of each the largest face counts."""

    name: str | None
    consent_id: str | None
    pictures: Sequence[bytes]


def enrol_face(gateway: Gateway, order: FaceOrder, *, tenant: str, request_id: str) -> Face:
    """Checks the consent, finds the face in every picture, compares them, and keeps the pictures.

    With a filmed consent the pictures must be of who was filmed. Protected people are refused.

    Raises:
        LikenessError: CONSENT_*, PROTECTED_PERSON, MEDIA_*, FACE_NOT_FOUND, FACE_MISMATCH when the pictures are not of
            one person, ALREADY_EXISTS, and what the stage failed with.
    """
    expires_at = time.monotonic() + gateway.settings.enrolment_deadline_s
    with gateway.database.session() as session:
        consent = require_live_consent(session, tenant, order.consent_id, subject="face", use="swap", field="consent")
        if order.name and session.scalar(select(Face.id).where(Face.tenant == tenant, Face.name == order.name)):
            raise name_taken("face", order.name)
    if not 1 <= len(order.pictures) <= MAX_PICTURES:
        detail = f"One to {MAX_PICTURES} pictures are taken, got {len(order.pictures)}."
        raise LikenessError("INVALID_FIELD", detail, field=FIELD)
    require_safe_pictures(gateway.policy, order.pictures, field=FIELD)
    call = Call(request_id, expires_at, grant=Grant("enroll", tenant, (consent.id,)))
    found = [
        find_largest(gateway, tenant, call, number, order.pictures) for number in range(1, len(order.pictures) + 1)
    ]
    descriptors = [np.asarray(item.faces[0].descriptor, np.float32) for item in found]
    distances = compare([descriptor.astype(np.float64) for descriptor in descriptors])
    require_unprotected_faces(gateway, descriptors, consent=consent, field=FIELD)
    if consent.kind == "filmed":
        require_consenting_face(gateway, consent, descriptors, field=FIELD)
    kinds = [picture_content_type(picture, field=FIELD) for picture in order.pictures]
    media = [
        publish(gateway, picture, tenant=tenant, content_type=kind, purpose="face_picture")
        for picture, kind in zip(order.pictures, kinds, strict=True)
    ]
    face = Face(
        id=new_id("face"),
        tenant=tenant,
        created_at=utc_now(),
        name=order.name,
        consent_id=consent.id,
        pictures=[
            {
                "media": item.id,
                **_detection(response),
                "distance": distance,
                TEMPLATE: sealed_descriptor(gateway, item.id, descriptor),
            }
            for item, response, distance, descriptor in zip(media, found, distances, descriptors, strict=True)
        ],
    )
    keep(gateway, face, media)
    return face


def outliers(descriptors: Sequence[NDArray[np.float64]], threshold: float = SAME_PERSON) -> list[int]:
    """Which of several descriptors (128,) are not of the person that most of them show.

    That person is whose descriptor has most others within the threshold, of equals the nearest to all, then the first;
    an outlier lies beyond the threshold from it.
    """
    stacked = np.stack(descriptors)
    distances = np.linalg.norm(stacked[:, None] - stacked[None], axis=2)
    near = distances <= threshold
    middle = min(range(len(stacked)), key=lambda index: (-near[index].sum(), distances[index].sum(), index))
    return [index for index in range(len(stacked)) if not near[middle, index]]


def find_largest(
    gateway: Gateway, tenant: str, call: Call, number: int, pictures: Sequence[bytes]
) -> faceswap_pb2.DetectFacesResponse:
    """The faces of one picture, at least one; failures say which picture it was when there are several."""
    picture = pictures[number - 1]
    try:
        picture_content_type(picture, field=FIELD)
        with ExitStack() as stack:
            message = stack.enter_context(picture_for_stage(gateway, tenant, picture))
            stack.enter_context(fields_called({"": FIELD}))
            request = faceswap_pb2.DetectFacesRequest(picture=message, with_descriptors=True)
            found = gateway.stages.detect_faces(request, call)
        if not found.faces:
            raise LikenessError("FACE_NOT_FOUND", "There is no face in this picture.", field=FIELD)
    except LikenessError as error:
        if len(pictures) == 1 or error.field is None:
            raise
        raise LikenessError(error.reason, f"Picture {number}: {error.detail}", field=error.field) from error
    return found


def compare(descriptors: Sequence[NDArray[np.float64]]) -> list[float | None]:
    """Distances to the mean descriptor; raises FACE_MISMATCH unless all show the same person."""
    if any(descriptor.size != DESCRIPTOR_SIZE for descriptor in descriptors):
        raise LikenessError("MODEL_INVALID", "The face stage tells no descriptors, so that nobody can be compared.")
    if len(descriptors) == 1:
        return [None]
    others = outliers(descriptors)
    if others:
        named = ", ".join(str(index + 1) for index in others)
        which = f"Picture {named} shows" if len(others) == 1 else f"Pictures {named} show"
        detail = f"{which} somebody else than the others (of {len(descriptors)}). Send pictures of one person only."
        raise LikenessError("FACE_MISMATCH", detail, field=FIELD)
    middle = np.mean(np.stack(descriptors), axis=0)
    return [round(float(np.linalg.norm(descriptor - middle)), 4) for descriptor in descriptors]


def _detection(found: faceswap_pb2.DetectFacesResponse) -> dict[str, Any]:
    return {
        "width_px": found.width_px,
        "height_px": found.height_px,
        "faces_found": len(found.faces),
        "score": round(found.faces[0].score, 4),
        "box": message_record(found.faces[0].box),
    }
