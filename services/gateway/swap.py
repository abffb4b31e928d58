"""A swapped picture: consent, the stage, publication. Used by requests, and by whatever else swaps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal

from google.protobuf.json_format import MessageToDict

from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.gateway.consent import require_live_consent
from services.gateway.context import Gateway
from services.gateway.db import Face, Job, Media, find, find_named
from services.gateway.enrolment import picture_content_type
from services.gateway.jobs import end_job, start_job
from services.gateway.media import destination_for_stage, media_bytes, picture_bytes, picture_for_stage, publish
from services.gateway.stages import Call, fields_called

Selection = Literal["largest", "all"]
PictureFormat = Literal["png", "jpeg", "webp"]
_SELECTIONS: Final = {
    "largest": faceswap_pb2.FACE_SELECTION_LARGEST,
    "all": faceswap_pb2.FACE_SELECTION_ALL,
}
_FORMATS: Final = {
    "png": faceswap_pb2.PICTURE_FORMAT_PNG,
    "jpeg": faceswap_pb2.PICTURE_FORMAT_JPEG,
    "webp": faceswap_pb2.PICTURE_FORMAT_WEBP,
}


@dataclass(frozen=True)
class SwapOrder:
    """Whose face onto which picture: either the bytes of an upload or the id of media that are here already."""

    face: str  # id or name
    target: bytes | None
    target_media_id: str | None
    selection: Selection = "largest"
    shape_strength: float | None = None
    feather: float | None = None
    format: PictureFormat = "png"


@dataclass(frozen=True)
class _Swapped:
    media: Media
    target: Media
    figures: dict[str, Any]


def swap_picture(gateway: Gateway, order: SwapOrder, *, tenant: str, request_id: str, started_at: float) -> Job:
    """Swaps, publishes the result, and returns the finished job.

    Raises:
        LikenessError: NOT_FOUND, CONSENT_*, MEDIA_*, FACE_*, INVALID_FIELD, and what the stage failed with.
    """
    if (order.target is None) == (order.target_media_id is None):
        detail = "Give one target: either a picture file, or the id of media that are here."
        raise LikenessError("INVALID_FIELD", detail, field="target")
    with gateway.database.session() as session:
        face = find_named(session, Face, tenant, order.face, what="face", field="face")
        consent = require_live_consent(session, tenant, face.consent_id, subject="face", use="swap", field="face")
        source = find(session, Media, tenant, face.picture_media_id, what="picture of the face")
        target = None
        if order.target_media_id is not None:
            target = find(session, Media, tenant, order.target_media_id, what="media", field="target_media")
            if not target.content_type.startswith("image/"):
                raise LikenessError("INVALID_FIELD", f"{target.id} is no picture.", field="target_media")
        job = start_job(
            session,
            tenant=tenant,
            kind="swap",
            request_id=request_id,
            consent_id=consent.id,
            likeness_id=face.id,
            parameters={
                "selection": order.selection,
                "shape_strength": order.shape_strength,
                "feather": order.feather,
                "format": order.format,
            },
        )
    call = Call(request_id, started_at + gateway.settings.swap_deadline_s)
    try:
        swapped = _swap(gateway, order, source, target, call, tenant, started_at)
    except Exception as error:
        told = error if isinstance(error, LikenessError) else LikenessError("INTERNAL", repr(error))
        end_job(gateway.database, job.id, "failed", figures={}, error=told)
        raise
    end_job(
        gateway.database,
        job.id,
        "succeeded",
        figures=swapped.figures,
        media_id=swapped.media.id,
        target_media_id=swapped.target.id,
    )
    with gateway.database.session() as session:
        return find(session, Job, tenant, job.id, what="job")


def _swap(
    gateway: Gateway,
    order: SwapOrder,
    source: Media,
    target: Media | None,
    call: Call,
    tenant: str,
    started_at: float,
) -> _Swapped:
    target_field = "target" if target is None else "target_media"
    target_bytes = (order.target or b"") if target is None else media_bytes(gateway, target)
    target_type = picture_content_type(target_bytes, field=target_field)
    names = {"source": "face", "target": target_field, "options.shape_strength": "shape_strength"}
    names["options.feather"] = "feather"
    with (
        picture_for_stage(gateway, media_bytes(gateway, source)) as source_picture,
        picture_for_stage(gateway, target_bytes) as target_picture,
        destination_for_stage(gateway) as destination,
        fields_called(names),
    ):
        response = gateway.stages.swap_picture(
            faceswap_pb2.SwapPictureRequest(
                source=source_picture, target=target_picture, options=_options(order), destination=destination
            ),
            call,
        )
        result = picture_bytes(gateway, response.result)
    if target is None:
        target = publish(gateway, target_bytes, tenant=tenant, content_type=target_type, purpose="swap_target")
    media = publish(gateway, result, tenant=tenant, content_type=f"image/{order.format}", purpose="swap")
    return _Swapped(media, target, _figures(response, started_at))


def _options(order: SwapOrder) -> faceswap_pb2.SwapOptions:
    options = faceswap_pb2.SwapOptions(selection=_SELECTIONS[order.selection], format=_FORMATS[order.format])
    if order.shape_strength is not None:
        options.shape_strength = order.shape_strength
    if order.feather is not None:
        options.feather = order.feather
    return options


def _figures(response: faceswap_pb2.SwapPictureResponse, started_at: float) -> dict[str, Any]:
    """Distances below zero mean not measurable and become null."""
    return {
        "seconds": round(time.monotonic() - started_at, 4),
        "width_px": response.width_px,
        "height_px": response.height_px,
        "faces": [
            {
                "box": MessageToDict(
                    face.target.box, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
                ),
                "distance_to_source": _distance(face.distance_to_source),
                "distance_to_target": _distance(face.distance_to_target),
            }
            for face in response.faces
        ],
    }


def _distance(value: float) -> float | None:
    return None if value < 0 else round(value, 4)
