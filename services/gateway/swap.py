"""A swapped picture: consents, the stage, publication. Used by requests, and by whatever else swaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, AssignmentOrder, assign, for_stage, forget_references
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.enrolment import message_record
from services.gateway.jobs import end_job, start_job
from services.gateway.media import (
    destination_for_stage,
    media_bytes,
    picture_bytes,
    picture_for_stage,
    publish,
    withdraw,
)
from services.gateway.painting import Painting, PictureFormat
from services.gateway.stages import Call, fields_called
from services.gateway.uploads import picture_content_type


@dataclass(frozen=True)
class SwapOrder:
    """Whose faces onto which picture: either the bytes of an upload or the id of media that are here already."""

    assignments: Sequence[AssignmentOrder]
    target: bytes | None
    target_media_id: str | None
    painting: Painting = Painting()
    format: PictureFormat = "png"


@dataclass(frozen=True)
class _Swapped:
    media: Media
    target: Media
    figures: dict[str, Any]


Later = Callable[[str, Callable[[], None]], None]


def swap_picture(
    gateway: Gateway,
    order: SwapOrder,
    *,
    tenant: str,
    request_id: str,
    started_at: float,
    later: Later | None = None,
) -> Job:
    """Swaps, publishes the result, and returns the finished job; with `later` the job as it begins, in the background.

    Args:
        later: takes the id of the job and the work.

    Raises:
        LikenessError: NOT_FOUND, CONSENT_*, MEDIA_*, FACE_*, INVALID_FIELD, and what the stage failed with.
    """
    target = None
    with gateway.database.session() as session:
        if order.target_media_id is not None:
            target = find(session, Media, tenant, order.target_media_id, what="media", field="target_media")
            if not target.content_type.startswith("image/"):
                raise LikenessError("INVALID_FIELD", f"{target.id} is no picture.", field="target_media")
    assignments = assign(gateway, tenant, order.assignments)
    with gateway.database.session() as session:
        job = start_job(
            session,
            tenant=tenant,
            kind="swap",
            request_id=request_id,
            consent_id=assignments[0].consents[0],
            likeness_id=assignments[0].face,
            parameters={
                "assignments": [assignment.to_json() for assignment in assignments],
                "painting": order.painting.to_json(),
                "format": order.format,
            },
            in_background=later is not None,
        )
    deadline_s = gateway.settings.swap_deadline_s

    def work() -> None:
        begun_at = started_at if later is None else time.monotonic()
        call = Call(request_id, begun_at + deadline_s)
        _swap_and_end(gateway, job.id, order, assignments, target, call, tenant, started_at)

    if later is not None:
        later(job.id, work)
    else:
        work()
    with gateway.database.session() as session:
        return find(session, Job, tenant, job.id, what="job")


def _swap_and_end(
    gateway: Gateway,
    job_id: str,
    order: SwapOrder,
    assignments: Sequence[Assignment],
    target: Media | None,
    call: Call,
    tenant: str,
    started_at: float,
) -> None:
    try:
        swapped = _swap(gateway, order, assignments, target, call, tenant, started_at)
    except Exception as error:
        told = error if isinstance(error, LikenessError) else LikenessError("INTERNAL", repr(error))
        end_job(gateway.database, job_id, "failed", figures={}, error=told)
        raise
    finally:
        forget_references(gateway, tenant, assignments)
    ended = end_job(
        gateway.database,
        job_id,
        "succeeded",
        figures=swapped.figures,
        media_id=swapped.media.id,
        target_media_id=swapped.target.id,
    )
    if not ended:  # cancelled meanwhile
        withdraw(gateway, swapped.media)
        if target is None:
            withdraw(gateway, swapped.target)


def _swap(
    gateway: Gateway,
    order: SwapOrder,
    assignments: Sequence[Assignment],
    target: Media | None,
    call: Call,
    tenant: str,
    started_at: float,
) -> _Swapped:
    target_field = "target" if target is None else "target_media"
    target_bytes = (order.target or b"") if target is None else media_bytes(gateway, target)
    target_type = picture_content_type(target_bytes, field=target_field)
    people = for_stage(gateway, tenant, assignments)
    with (
        picture_for_stage(gateway, target_bytes) as target_picture,
        destination_for_stage(gateway) as destination,
        fields_called(stage_fields(order.assignments, target_field)),
    ):
        response = gateway.stages.swap_picture(
            faceswap_pb2.SwapPictureRequest(
                target=target_picture,
                assignments=people,
                options=order.painting.message(order.format),
                destination=destination,
            ),
            call,
        )
        result = picture_bytes(gateway, response.result)
    if target is None:
        target = publish(gateway, target_bytes, tenant=tenant, content_type=target_type, purpose="swap_target")
    media = publish(gateway, result, tenant=tenant, content_type=f"image/{order.format}", purpose="swap")
    return _Swapped(media, target, _figures(response, started_at))


def stage_fields(orders: Sequence[AssignmentOrder], target_field: str) -> dict[str, str]:
    """What the stage's fields are called in the request."""
    names = {"target": target_field, "film": target_field}
    for option in ("shape_strength", "feather", "regions", "keep_occluders", "engine", "pixel_boost", "enhancer"):
        names[f"options.{option}"] = option
    for number, order in enumerate(orders):
        stem = f"assignments[{number}]"
        names |= {stem: f"{order.field}face", f"{stem}.faces": f"{order.field}selection"}
        for field in ("reference", "index", "threshold"):
            names[f"{stem}.faces.{field}"] = f"{order.field}{field}"
    return names


def _figures(response: faceswap_pb2.SwapPictureResponse, started_at: float) -> dict[str, Any]:
    """Distances below zero mean not measurable and become null."""
    return {
        "seconds": round(time.monotonic() - started_at, 4),
        "width_px": response.width_px,
        "height_px": response.height_px,
        "faces": [
            {
                "box": message_record(face.target.box),
                "assignment": face.assignment,
                "distance_to_source": distance_record(face.distance_to_source),
                "distance_to_target": distance_record(face.distance_to_target),
            }
            for face in response.faces
        ],
    }


def distance_record(value: float) -> float | None:
    return None if value < 0 else round(value, 4)
