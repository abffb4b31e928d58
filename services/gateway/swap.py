"""A swapped picture: consents, the stage, publication. Here for requests that wait, in `swap_jobs` for others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, AssignmentOrder, assign, for_stage, forget_references, swap_grant
from services.gateway.consents.safety import require_safe_pictures
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.halting import Halt
from services.gateway.jobs import QueueOptions, end_job, start_job
from services.gateway.jobs.records import PLAIN
from services.gateway.media import (
    destination_for_stage,
    media_bytes,
    picture_bytes,
    picture_for_stage,
    publish,
    withdraw,
)
from services.gateway.message_records import message_record
from services.gateway.painting import Painting, PictureFormat
from services.gateway.provenance import Ingredient
from services.gateway.provenance.gate import number_of, release, require_picture_mark
from services.gateway.stages import Call, fields_called, until
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


def swap_picture(
    gateway: Gateway,
    order: SwapOrder,
    *,
    tenant: str,
    request_id: str,
    started_at: float,
    options: QueueOptions = PLAIN,
) -> Job:
    """Swaps while the caller waits, publishes the result, and returns the finished job.

    Raises:
        LikenessError: NOT_FOUND, CONSENT_*, MEDIA_*, FACE_*, INVALID_FIELD, and what the stage failed with.
    """
    target = find_picture(gateway, tenant, order.target_media_id)
    assignments = assign(gateway, tenant, order.assignments)
    with gateway.database.session() as session:
        job = start_job(
            session,
            tenant=tenant,
            kind="swap",
            request_id=request_id,
            consent_id=assignments[0].consents[0],
            likeness_id=assignments[0].face,
            parameters=swap_parameters(assignments, order),
            owner=gateway.process_id,
            options=options,
        )
    call = Call(request_id, until(started_at + gateway.settings.swap_deadline_s, options.deadline_at))
    try:
        swapped = _swap(gateway, order, assignments, target, call, job, started_at)
    except Exception as error:
        told = error if isinstance(error, LikenessError) else LikenessError("INTERNAL", repr(error))
        end_job(gateway.database, job.id, "failed", figures={}, error=told)
        raise
    finally:
        forget_references(gateway, tenant, assignments)
    ended = end_job(
        gateway.database,
        job.id,
        "succeeded",
        figures=swapped.figures,
        media_id=swapped.media.id,
        target_media_id=swapped.target.id,
        sha256=swapped.media.sha256,
    )
    if not ended:  # called off meanwhile: a face was deleted
        withdraw(gateway, swapped.media)
        if target is None:
            withdraw(gateway, swapped.target)
    with gateway.database.session() as session:
        return find(session, Job, tenant, job.id, what="job")


def find_picture(gateway: Gateway, tenant: str, media_id: str | None) -> Media | None:
    """The media to be swapped into. Raises LikenessError NOT_FOUND, or INVALID_FIELD when they are no picture."""
    if media_id is None:
        return None
    with gateway.database.session() as session:
        target = find(session, Media, tenant, media_id, what="media", field="target_media")
    if not target.content_type.startswith("image/"):
        raise LikenessError("INVALID_FIELD", f"{target.id} is no picture.", field="target_media")
    return target


def swap_parameters(assignments: Sequence[Assignment], order: SwapOrder) -> dict[str, Any]:
    """What the job's record keeps of a request."""
    return {
        "assignments": [assignment.to_json() for assignment in assignments],
        "painting": order.painting.to_json(),
        "format": order.format,
    }


def call_swap(
    gateway: Gateway,
    target: bytes,
    assignments: Sequence[Assignment],
    painting: Painting,
    picture_format: PictureFormat,
    *,
    tenant: str,
    mark: int | None,
    call: Call,
    halt: Halt,
) -> tuple[bytes, faceswap_pb2.SwapPictureResponse]:
    """The swapped picture, and what the stage says of it. Consents are looked at first.

    Raises:
        LikenessError: CONSENT_*, NOT_FOUND, and what the stage failed with, its fields named as in the request.
    """
    people = for_stage(gateway, tenant, assignments)
    require_safe_pictures(gateway.policy, [target], field="target")
    with (
        picture_for_stage(gateway, tenant, target) as target_picture,
        destination_for_stage(gateway, tenant) as destination,
    ):
        request = faceswap_pb2.SwapPictureRequest(
            target=target_picture,
            assignments=people,
            options=painting.message(picture_format),
            destination=destination,
        )
        call = call.granting(swap_grant(tenant, assignments, people, mark, gateway.policy))
        response = gateway.stages.swap_picture(request, call, halt)
        return picture_bytes(gateway, response.result), response


def release_picture(
    gateway: Gateway, job: Job, result: bytes, content_type: str, target: bytes, target_type: str
) -> bytes:
    """The result with its signed manifest. Raises LikenessError MARK_FAILED, MANIFEST_FAILED."""
    require_picture_mark(result, gateway.keys.mark, number_of(job))
    parent = Ingredient(hashlib.sha256(target).hexdigest(), target_type, content=target)
    return release(gateway, job, result, content_type, "picture", target=parent)


def _swap(
    gateway: Gateway,
    order: SwapOrder,
    assignments: Sequence[Assignment],
    target: Media | None,
    call: Call,
    job: Job,
    started_at: float,
) -> _Swapped:
    target_field = "target" if target is None else "target_media"
    target_bytes = (order.target or b"") if target is None else media_bytes(gateway, target)
    target_type = picture_content_type(target_bytes, field=target_field)
    with fields_called(stage_fields(order.assignments, target_field)):
        result, response = call_swap(
            gateway,
            target_bytes,
            assignments,
            order.painting,
            order.format,
            tenant=job.tenant,
            mark=job.mark,
            call=call,
            halt=Halt(),
        )
    if target is None:
        target = publish(gateway, target_bytes, tenant=job.tenant, content_type=target_type, purpose="swap_target")
    kind = f"image/{order.format}"
    result = release_picture(gateway, job, result, kind, target_bytes, target_type)
    media = publish(gateway, result, tenant=job.tenant, content_type=kind, purpose="swap", job_id=job.id)
    return _Swapped(media, target, picture_figures(response, time.monotonic() - started_at))


def stage_fields(orders: Sequence[AssignmentOrder | Assignment], target_field: str) -> dict[str, str]:
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


def picture_figures(response: faceswap_pb2.SwapPictureResponse, seconds: float) -> dict[str, Any]:
    """Distances below zero mean not measurable and become null."""
    return {
        "seconds": round(seconds, 4),
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
