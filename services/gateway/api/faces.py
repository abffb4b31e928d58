"""/v1/faces: enrol a face from a picture, list, show, delete."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from services.gateway.accounts import needs
from services.gateway.admission import takes_place
from services.gateway.api.fields import (
    Deleted,
    FormBody,
    Identifier,
    Name,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    from_commas,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import CONSENT, MEDIA, SAFETY, STAGE, fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.db import Face, find_named, get_page
from services.gateway.deletion import delete_face
from services.gateway.face_enrolment import MAX_PICTURES, FaceOrder, enrol_face
from services.gateway.media import bytes_of

bp = APIBlueprint("faces", __name__, url_prefix="/v1/faces", tag="Faces")


class FaceIn(FormBody):
    """A face to be enrolled (multipart/form-data)."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["consent"],
            "anyOf": [{"required": ["picture"]}, {"required": ["picture_media"]}],
        }
    )

    name: Name | None = None
    consent: Identifier | None = Field(None, description="Id of a live face consent.")
    picture: list[UploadFile] | None = Field(
        None,
        description="PNG, JPEG, WebP or BMP, of each the largest face; several pictures of one person, from different "
        "sides, make better swaps.",
        json_schema_extra={
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "minItems": 1,
            "maxItems": MAX_PICTURES,
        },
    )
    picture_media: Annotated[
        list[Identifier], BeforeValidator(from_commas), WithJsonSchema({"type": "string", "maxLength": 2000})
    ] = Field([], description="Instead of picture, or beside it: ids of media that are here, separated by commas.")


class Box(BaseModel):
    """A rectangle in pixels of the upright picture."""

    left: float
    top: float
    width: float
    height: float


class FacePicture(BaseModel):
    """One of the pictures of an enrolled face."""

    media: str
    width_px: int
    height_px: int
    faces_found: int = Field(description="More than one: the largest is taken.")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    box: Box
    distance: float | None = Field(description="dlib's, to the middle of all pictures; null for a single one.")


class FaceOut(BaseModel):
    """An enrolled face. What is said of a picture here is said of the first."""

    id: str
    object: Literal["face"]
    created_at: int
    name: str | None
    consent: str
    picture_media: str
    width_px: int
    height_px: int
    faces_found: int = Field(description="More than one: the largest is taken.")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    box: Box
    pictures: list[FacePicture]


def show_face(face: Face) -> FaceOut:
    return FaceOut.model_validate(
        {
            "id": face.id,
            "object": "face",
            "created_at": unix_seconds(face.created_at),
            "name": face.name,
            "consent": face.consent_id,
            "picture_media": face.pictures[0]["media"],
            **{name: value for name, value in face.pictures[0].items() if name not in ("media", "distance")},
            "pictures": face.pictures,
        }
    )


@bp.post("")
@bp.input(FaceIn, location="form_and_files", arg_name="body")
@bp.output(FaceOut, status_code=201)
@bp.doc(
    summary="Enrol a face",
    description="Needs a live face consent. Several pictures must show the same person; which do not is said.",
    operation_id="create_face",
)
@fails_with(
    "ALREADY_EXISTS",
    "NOT_FOUND",
    "FACE_NOT_FOUND",
    "FACE_MISMATCH",
    "MEDIA_CHECKSUM_MISMATCH",
    "MODEL_INVALID",
    *CONSENT,
    *MEDIA,
    *SAFETY,
    *STAGE,
)
@needs("faces")
@takes_place
def create_face(body: FaceIn) -> FaceOut:
    gateway, tenant = current_gateway(), current_tenant()
    pictures = [picture.read() for picture in body.picture or ()]
    for media in body.picture_media[: MAX_PICTURES + 1]:
        pictures.append(bytes_of(gateway, tenant, media, kinds=("image/",), field="picture_media"))
    order = FaceOrder(name=body.name, consent_id=body.consent, pictures=pictures)
    return show_face(enrol_face(gateway, order, tenant=tenant, request_id=current_request_id()))


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[FaceOut])
@bp.doc(summary="List faces", operation_id="list_faces")
@needs("read", "faces")
def list_faces(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Face, current_tenant(), after=page.after, limit=page.limit)
        return page_out(found, show_face)


@bp.get("/<face>")
@bp.output(FaceOut)
@bp.doc(summary="Get a face by id or name", operation_id="get_face")
@fails_with("NOT_FOUND")
@needs("read", "faces")
def get_face(face: str) -> FaceOut:
    with current_gateway().database.session() as session:
        return show_face(find_named(session, Face, current_tenant(), face, what="face"))


@bp.delete("/<face>")
@bp.output(Deleted)
@bp.doc(summary="Delete a face, its pictures, and the results that show it", operation_id="delete_face")
@fails_with("NOT_FOUND")
@needs("faces")
def delete_one(face: str) -> dict[str, Any]:
    return {"id": delete_face(current_gateway(), current_tenant(), face), "object": "face.deleted"}
