"""/v1/swaps: enrolled faces onto the faces of a picture or a film."""

from __future__ import annotations

from typing import IO, Any, Final, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field

from services.common.errors import LikenessError
from services.gateway.accounts import needs, starts_job
from services.gateway.admission import takes_place
from services.gateway.api.answers import ended_in_time, preference_headers
from services.gateway.api.faces import Box
from services.gateway.api.fields import current_gateway, current_tenant, inline_schema, unix_seconds
from services.gateway.api.headers import PREFER, takes_headers
from services.gateway.api.job_views import JobError, Progress, show_progress
from services.gateway.api.jobs import cancel_record
from services.gateway.api.prefer import current_preference
from services.gateway.api.queue_fields import queue_options
from services.gateway.api.reasons import CONSENT, MEDIA, SAFETY, STAGE, fails_with
from services.gateway.api.scope import arrived_at, current_request_id
from services.gateway.api.swap_form import SwapIn
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.film_jobs import FilmOrder, queue_film_swap
from services.gateway.jobs import JobState, QueueOptions
from services.gateway.swap import SwapOrder, swap_picture
from services.gateway.swap_jobs import queue_picture_swap
from services.gateway.uploads import file_of, film_content_type, first_bytes

bp = APIBlueprint("swaps", __name__, url_prefix="/v1/swaps", tag="Swaps")


class SwappedFaceOut(BaseModel):
    """One face that was replaced. Distances are dlib's: below 0.6 is the same person; null when not measurable."""

    box: Box
    assignment: int = 0
    distance_to_source: float | None
    distance_to_target: float | None


class SwappedPerson(BaseModel):
    """How often somebody was put into a film; distances are means over the frames."""

    face: str
    frames_swapped: int
    distance_to_source: float | None
    distance_to_target: float | None


class SwapFigures(BaseModel):
    """What the swap measured; null while there is nothing."""

    seconds: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    faces: list[SwappedFaceOut] = Field(default_factory=list, description="Of a picture.")
    frames: int | None = None
    frames_per_second: float | None = Field(None, description="Worked on, the whole path.")
    film_frame_rate: float | None = None
    segments: int | None = None
    retries: int | None = Field(None, description="Segments that were tried again.")
    people: list[SwappedPerson] = Field(default_factory=list, description="Of a film.")


class SwapOut(BaseModel):
    """A swap and its result. Its id is that of its job."""

    id: str
    object: Literal["swap"]
    created_at: int
    status: JobState
    progress: Progress | None = Field(description="Of a swap in the background.")
    face: str = Field(description="The first of them, when there are several.")
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
            "progress": show_progress(job.progress),
            "face": job.likeness_id,
            "target_media": job.target_media_id,
            "media": job.media_id,
            "media_url": None if job.media_id is None else f"/v1/media/{job.media_id}",
            "figures": job.figures,
            "error": job.error,
        }
    )


_ACCEPTED: Final[Any] = {
    202: {
        "description": "Accepted; Location names where its progress can be seen",
        "content": {"application/json": {"schema": inline_schema(SwapOut)}},
    }
}


@bp.post("")
@bp.input(SwapIn, location="form_and_files", arg_name="body")
@bp.output(SwapOut, status_code=201)
@bp.doc(
    summary="Swap faces in a picture or a film",
    description=(
        "Needs the live consent of every enrolled face that is named. A picture is answered when it is done (201), "
        "unless `Prefer` is sent. A film is accepted (202) and worked on in the background: "
        "`GET /v1/swaps/{id}` shows its progress. It is published whole or not at all; a consent that ends meanwhile "
        "cancels it."
    ),
    operation_id="create_swap",
    responses=_ACCEPTED,
)
@fails_with(
    "NOT_FOUND",
    "FACE_NOT_FOUND",
    "FACE_TOO_SMALL",
    "MEDIA_CHECKSUM_MISMATCH",
    "MODEL_INVALID",
    *CONSENT,
    *MEDIA,
    *SAFETY,
    *STAGE,
)
@needs("swaps")
@starts_job
@takes_headers(PREFER)
@takes_place
def create_swap(body: SwapIn) -> Any:
    if (body.target is None) == (body.target_media is None):
        detail = "Give one target: either a picture or a film, or the id of media that are here."
        raise LikenessError("INVALID_FIELD", detail, field="target")
    gateway, tenant = current_gateway(), current_tenant()
    media = None
    if body.target is not None:
        target_type = film_content_type(first_bytes(_stream(body)))
    else:
        media = _media_at_hand(gateway, tenant, str(body.target_media))
        target_type = _film_type_of(gateway, media)
    wants_film = target_type is not None
    preference, options = current_preference(), queue_options(body)
    if not wants_film and not preference.may_queue:
        job = swap_picture(
            gateway,
            _picture_order(gateway, body),
            tenant=tenant,
            request_id=current_request_id(),
            started_at=arrived_at(),
            options=options,
        )
        return show_swap(job)
    if target_type is not None:
        job = _queue_film(gateway, tenant, body, target_type, media, options)
    else:
        order = _picture_order(gateway, body)
        job = queue_picture_swap(gateway, order, tenant=tenant, request_id=current_request_id(), options=options)
    ended = ended_in_time(job, preference)
    if ended is not None:
        return show_swap(ended), 201, preference_headers(preference)
    return show_swap(job), 202, preference_headers(preference, f"/v1/swaps/{job.id}")


@bp.get("/<swap_id>")
@bp.output(SwapOut)
@bp.doc(summary="Get a swap", description="With its progress while it is `processing`.", operation_id="get_swap")
@fails_with("NOT_FOUND")
@needs("read", "swaps")
def get_swap(swap_id: str) -> SwapOut:
    with current_gateway().database.session() as session:
        return show_swap(find(session, Job, current_tenant(), swap_id, Job.kind == "swap", what="swap"))


@bp.post("/<swap_id>/cancel")
@bp.output(SwapOut)
@bp.doc(
    summary="Cancel a swap",
    description="Stops the work of the stages. What was uploaded for it is kept for a while, for a retry. One that has "
    "ended stays as it is.",
    operation_id="cancel_swap",
)
@fails_with("NOT_FOUND", "NOT_CANCELABLE")
@needs("swaps", "jobs")
def cancel_swap(swap_id: str) -> SwapOut:
    return show_swap(cancel_record(swap_id, Job.kind == "swap", what="swap"))


def _stream(body: SwapIn) -> IO[bytes]:
    assert body.target is not None  # noqa: S101 - for the type
    return body.target.stream


def _media_at_hand(gateway: Gateway, tenant: str, media_id: str) -> Media:
    with gateway.database.session() as session:
        media = find(session, Media, tenant, media_id, what="media", field="target_media")
    if not media.content_type.startswith(("image/", "video/")):
        raise LikenessError("INVALID_FIELD", f"{media.id} is neither picture nor film.", field="target_media")
    return media


def _film_type_of(gateway: Gateway, media: Media) -> str | None:
    if media.content_type.startswith("video/"):
        return media.content_type
    with gateway.store.fetch(media.key) as path, path.open("rb") as file:
        return film_content_type(first_bytes(file))


def _picture_order(gateway: Gateway, body: SwapIn) -> SwapOrder:
    target = None
    if body.target is not None:
        limit = gateway.settings.max_upload_bytes
        target = _stream(body).read(limit + 1)
        if len(target) > limit:
            raise LikenessError("MEDIA_TOO_LARGE", f"A picture may have {limit} bytes at most.", field="target")
    return SwapOrder(
        assignments=body.orders(),
        target=target,
        target_media_id=body.target_media,
        painting=body.painting(),
        format=body.picture_format(),
    )


def _queue_film(
    gateway: Gateway, tenant: str, body: SwapIn, target_type: str, media: Media | None, options: QueueOptions
) -> Job:
    orders, painting, film = body.orders(), body.painting(), body.film_options(target_type)
    request_id = current_request_id()
    if body.target is None:
        order = FilmOrder(orders, None, target_type, media, painting, film)
        return queue_film_swap(gateway, order, tenant=tenant, request_id=request_id, options=options)
    with file_of(_stream(body), gateway.settings.spool_dir) as path:
        order = FilmOrder(orders, path, target_type, None, painting, film)
        return queue_film_swap(gateway, order, tenant=tenant, request_id=request_id, options=options)
