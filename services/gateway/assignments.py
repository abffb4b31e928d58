"""Who is put onto which faces: what a request names, what a job keeps of it, and what a stage is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal, Self

from sqlalchemy.orm import Session

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.common.grants import Grant
from services.gateway.consents.policy import Policy
from services.gateway.context import Gateway
from services.gateway.db import Face, Media, find, find_named
from services.gateway.ids import new_id
from services.gateway.media import publish, reference_to, withdraw
from services.gateway.protected.refusal import require_unprotected_picture, require_usable
from services.gateway.uploads import picture_content_type

Selection = Literal["largest", "all", "index", "reference"]
MAX_ASSIGNMENTS: Final = 16
_SELECTIONS: Final = {
    "largest": faceswap_pb2.FACE_SELECTION_LARGEST,
    "all": faceswap_pb2.FACE_SELECTION_ALL,
    "index": faceswap_pb2.FACE_SELECTION_INDEX,
    "reference": faceswap_pb2.FACE_SELECTION_REFERENCE,
}


@dataclass(frozen=True)
class AssignmentOrder:
    """An enrolled face, by id or name, and the faces of the target that become it.

    With the selection "reference" these are the ones that look like a picture or like another enrolled face. `field`
    begins the names of its fields in the request, such as "assignments.0.".
    """

    face: str
    selection: Selection = "largest"
    index: int | None = None
    reference: bytes | None = None
    reference_face: str | None = None
    threshold: float | None = None
    field: str = ""

    def check(self) -> None:
        """Raises LikenessError INVALID_FIELD when selection and what it needs do not fit."""
        if (self.index is not None) != (self.selection == "index"):
            detail = "The selection 'index' goes with an index, and an index with that selection."
            raise LikenessError("INVALID_FIELD", detail, field=f"{self.field}index")
        given = (self.reference is not None) + (self.reference_face is not None)
        if given != (self.selection == "reference"):
            detail = "The selection 'reference' goes with one reference: a picture or an enrolled face."
            raise LikenessError("INVALID_FIELD", detail, field=f"{self.field}reference")
        if self.threshold is not None and self.selection != "reference":
            detail = "A threshold goes with the selection 'reference'."
            raise LikenessError("INVALID_FIELD", detail, field=f"{self.field}threshold")


@dataclass(frozen=True)
class Assignment:
    """The same with ids in place of names, as a job keeps it. `consents` are all that it rests on."""

    face: str
    consents: tuple[str, ...]
    selection: Selection
    index: int
    reference_media: str | None
    reference_face: str | None
    threshold: float | None
    field: str = ""  # begins the names of its fields in the request

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"consents": list(self.consents)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        known = {field.name: value[field.name] for field in fields(cls) if field.name in value}
        return cls(**known | {"consents": tuple(value["consents"])})


def assign(gateway: Gateway, tenant: str, orders: Sequence[AssignmentOrder]) -> list[Assignment]:
    """Finds the faces, checks every consent, and only then keeps the reference pictures.

    Protected people are neither put onto others nor replaced by reference.

    Raises:
        LikenessError: INVALID_FIELD, NOT_FOUND, CONSENT_*, PROTECTED_PERSON, MEDIA_EMPTY, MEDIA_UNSUPPORTED, and what
            the face stage failed with.
    """
    if not 1 <= len(orders) <= MAX_ASSIGNMENTS:
        detail = f"One to {MAX_ASSIGNMENTS} assignments are taken, got {len(orders)}."
        raise LikenessError("INVALID_FIELD", detail, field="assignments")
    found: list[tuple[Face, Face | None]] = []
    with gateway.database.session() as session:
        for order in orders:
            order.check()
            face = _usable(gateway, session, tenant, order.face, f"{order.field}face")
            other = None
            if order.reference_face is not None:
                other = _usable(gateway, session, tenant, order.reference_face, f"{order.field}reference_face")
            found.append((face, other))
    for order in orders:
        if order.reference is not None:
            field = f"{order.field}reference"
            picture_content_type(order.reference, field=field)
            require_unprotected_picture(gateway, tenant, order.reference, new_id("req"), field=field)
    made = []
    for order, (face, other) in zip(orders, found, strict=True):
        media = None
        if order.reference is not None:
            kind = picture_content_type(order.reference, field=f"{order.field}reference")
            media = publish(gateway, order.reference, tenant=tenant, content_type=kind, purpose="swap_reference")
        made.append(
            Assignment(
                face=face.id,
                consents=tuple(dict.fromkeys(item.consent_id for item in (face, other) if item is not None)),
                selection=order.selection,
                index=order.index or 0,
                reference_media=None if media is None else media.id,
                reference_face=None if other is None else other.id,
                threshold=order.threshold,
                field=order.field,
            )
        )
    return made


def for_stage(gateway: Gateway, tenant: str, assignments: Sequence[Assignment]) -> list[faceswap_pb2.FaceAssignment]:
    """What a stage is told. Every consent is looked at again, each time.

    Raises:
        LikenessError: NOT_FOUND when a face was deleted; CONSENT_*.
    """
    with gateway.database.session() as session:
        return [_message(gateway, session, tenant, assignment) for assignment in assignments]


def swap_grant(
    tenant: str,
    assignments: Sequence[Assignment],
    messages: Sequence[faceswap_pb2.FaceAssignment],
    mark: int | None,
    policy: Policy,
) -> Grant:
    """For putting these people's faces onto others, and nobody else's, in pictures that carry the mark."""
    templates = frozenset(source.media.sha256 for message in messages for source in message.sources)
    faces = tuple(assignment.face for assignment in assignments)
    return Grant("swap", tenant, faces, templates, mark or 0, policy.visible_label or "")


def forget_references(gateway: Gateway, tenant: str, assignments: Sequence[Assignment]) -> None:
    """Deletes the reference pictures that came with the request."""
    for assignment in assignments:
        if assignment.reference_media is None:
            continue
        with gateway.database.session() as session:
            media = session.get(Media, assignment.reference_media)
        if media is not None and media.tenant == tenant:
            withdraw(gateway, media)


def _message(gateway: Gateway, session: Session, tenant: str, assignment: Assignment) -> faceswap_pb2.FaceAssignment:
    face = _usable(gateway, session, tenant, assignment.face, "face", by_id=True)
    sources = [_picture(gateway, session, tenant, picture["media"]) for picture in face.pictures]
    selector = faceswap_pb2.FaceSelector(selection=_SELECTIONS[assignment.selection], index=assignment.index)
    if assignment.reference_face is not None:
        other = _usable(gateway, session, tenant, assignment.reference_face, "reference_face", by_id=True)
        selector.reference.CopyFrom(_picture(gateway, session, tenant, other.pictures[0]["media"]))
    if assignment.reference_media is not None:
        selector.reference.CopyFrom(_picture(gateway, session, tenant, assignment.reference_media))
    if assignment.threshold is not None:
        selector.threshold = assignment.threshold
    return faceswap_pb2.FaceAssignment(sources=sources, faces=selector)


def _usable(gateway: Gateway, session: Session, tenant: str, face: str, field: str, *, by_id: bool = False) -> Face:
    """The enrolled face, when its consent is live and its person not protected."""
    if by_id:
        found = find(session, Face, tenant, face, what="face", field=field)
    else:
        found = find_named(session, Face, tenant, face, what="face", field=field)
    require_usable(gateway, session, found, field=field)
    return found


def _picture(gateway: Gateway, session: Session, tenant: str, media_id: str) -> faceswap_pb2.Picture:
    media = find(session, Media, tenant, media_id, what="picture")
    return faceswap_pb2.Picture(media=reference_to(gateway, media))
