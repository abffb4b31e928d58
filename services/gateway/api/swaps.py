"""/v1/swaps: an enrolled face onto the faces of a picture."""

from __future__ import annotations

from typing import Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.api.faces import Box
from services.gateway.api.fields import FormBody, Identifier, current_gateway, current_tenant, unix_seconds
from services.gateway.api.jobs import JobError
from services.gateway.api.reasons import CONSENT, MEDIA, STAGE, fails_with
from services.gateway.api.scope import arrived_at, current_request_id
from services.gateway.db import Job, find
from services.gateway.jobs import JobState
from services.gateway.swap import PictureFormat, Selection, SwapOrder, swap_picture

bp = APIBlueprint("swaps", __name__, url_prefix="/v1/swaps", tag="Swaps")


class SwapIn(FormBody):
    """A swap to be made (multipart/form-data)."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["target"]}, {"required": ["target_media"]}]},
    )

    face: Identifier = Field(description="Id or name of the enrolled face.")
    target: UploadFile | None = Field(
        None, description="The picture to change.", json_schema_extra={"type": "string", "format": "binary"}
    )
    target_media: Identifier | None = Field(
        None, description="Instead of target: id of a picture that is here already."
    )
    selection: Selection = Field("largest", description="Which faces of the target.")
    shape_strength: float | None = Field(None, ge=0, le=1, description="Share of the face's shape carried over.")
    feather: float | None = Field(None, ge=0.01, le=0.5, description="Blend border as a share of the face's width.")
    format: PictureFormat = "png"


class SwappedFaceOut(BaseModel):
    """One face that was replaced. Distances are dlib's: below 0.6 is the same person; null when not measurable."""

    box: Box
    distance_to_source: float | None
    distance_to_target: float | None


class SwapFigures(BaseModel):
    """What the swap measured; null while there is nothing."""

    seconds: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    faces: list[SwappedFaceOut] = Field(default_factory=list)


class SwapOut(BaseModel):
    """A swap and its result. Its id is that of its job."""

    id: str
    object: Literal["swap"]
    created_at: int
    status: JobState
    face: str
    target_media: str | None
    media: str | None
    media_url: str | None
    figures: SwapFigures
    error: JobError | None


def show_swap(job: Job) -> SwapOut:
    return SwapOut.model_validate(
        {
            "id": job.id,
            "object": "swap",
            "created_at": unix_seconds(job.created_at),
            "status": job.state,
            "face": job.likeness_id,
            "target_media": job.target_media_id,
            "media": job.media_id,
            "media_url": None if job.media_id is None else f"/v1/media/{job.media_id}",
            "figures": job.figures,
            "error": job.error,
        }
    )


@bp.post("")
@bp.input(SwapIn, location="form_and_files", arg_name="body")
@bp.output(SwapOut, status_code=201)
@bp.doc(
    summary="Swap a face into a picture",
    description="Needs the live consent of the enrolled face. The picture is `target`, or what `target_media` names.",
    operation_id="create_swap",
)
@fails_with("NOT_FOUND", "FACE_NOT_FOUND", "FACE_TOO_SMALL", "MEDIA_CHECKSUM_MISMATCH", *CONSENT, *MEDIA, *STAGE)
def create_swap(body: SwapIn) -> SwapOut:
    order = SwapOrder(
        face=body.face,
        target=None if body.target is None else body.target.read(),
        target_media_id=body.target_media,
        selection=body.selection,
        shape_strength=body.shape_strength,
        feather=body.feather,
        format=body.format,
    )
    job = swap_picture(
        current_gateway(), order, tenant=current_tenant(), request_id=current_request_id(), started_at=arrived_at()
    )
    return show_swap(job)


@bp.get("/<swap_id>")
@bp.output(SwapOut)
@bp.doc(summary="Get a swap", operation_id="get_swap")
@fails_with("NOT_FOUND")
def get_swap(swap_id: str) -> SwapOut:
    with current_gateway().database.session() as session:
        return show_swap(find(session, Job, current_tenant(), swap_id, Job.kind == "swap", what="swap"))
