"""The form of a swap's request: its fields, and the orders they make."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from apiflask.fields import UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from services.common.errors import LikenessError
from services.gateway.api.fields import FormBody, Identifier, Purpose, current_gateway, from_commas
from services.gateway.api.queue_fields import QueueFields
from services.gateway.assignments import MAX_ASSIGNMENTS, AssignmentOrder, Selection
from services.gateway.film import FilmOptions
from services.gateway.painting import FaceRegion, Painting, PictureFormat

_FILE: dict[str, Any] = {"type": "string", "format": "binary"}


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise PydanticCustomError("json", "expected a list of assignments as JSON") from error


Threshold = Annotated[float, Field(gt=0, le=2, description="Largest distance to the reference; 0.6 when not given.")]


class AssignmentIn(BaseModel):
    """One person and the faces of the target that become this person."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    face: Identifier
    selection: Selection = "largest"
    index: int | None = Field(None, ge=0, le=1000)
    reference_face: Identifier | None = None
    reference: int | None = Field(None, ge=0, description="Which of the files sent as `reference`, from 0.")
    threshold: Threshold | None = None


class SwapIn(QueueFields, FormBody):
    """A swap to be made (multipart/form-data)."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"anyOf": [{"required": ["target"]}, {"required": ["target_media"]}]},
                {"anyOf": [{"required": ["face"]}, {"required": ["assignments"]}]},
            ]
        },
    )

    face: Identifier | None = Field(None, description="Id or name of the enrolled face.")
    assignments: (
        Annotated[
            list[AssignmentIn],
            BeforeValidator(_from_json),
            WithJsonSchema({"type": "string", "contentMediaType": "application/json"}),
        ]
        | None
    ) = Field(
        None,
        description=(
            "Instead of face: several people at once, as JSON. A list of objects with `face` and, each as below, "
            "`selection`, `index`, `reference_face`, `threshold`; `reference` is the number of a file sent as "
            "reference, from 0. A face of the target that two of them name goes to the first."
        ),
    )
    target: UploadFile | None = Field(
        None,
        description="What to change: a picture (PNG, JPEG, WebP, BMP) or a film (MP4, MOV, WebM, MKV, GIF, animated "
        "WebP), by content.",
        json_schema_extra=_FILE,
    )
    target_media: Identifier | None = Field(None, description="Instead of target: id of media that are here already.")
    selection: Selection = Field(
        "largest",
        description="Which faces of the target: the largest, all, the one at `index`, or those that look like the "
        "reference. In a film the choice is made when a face appears and stays with it.",
    )
    index: int | None = Field(None, ge=0, le=1000, description="From the left, 0 is the first.")
    reference: list[UploadFile] | None = Field(
        None,
        description="Picture of the person to be replaced; several where assignments name them by number.",
        json_schema_extra={"type": "array", "items": _FILE, "minItems": 1, "maxItems": MAX_ASSIGNMENTS},
    )
    reference_face: Identifier | None = Field(None, description="Instead of reference: an enrolled face.")
    threshold: Threshold | None = None
    engine: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = Field(
        "", description="Name of a registered engine; empty is the mesh engine."
    )
    regions: Annotated[
        list[FaceRegion],
        BeforeValidator(from_commas),
        WithJsonSchema({"type": "string", "pattern": "^(skin|brows|eyes|nose|mouth)(,(skin|brows|eyes|nose|mouth))*$"}),
    ] = Field([], description="Parts of the face to replace, separated by commas; all when not given.")
    keep_occluders: bool | None = Field(None, description="Keep what lies before the face before it; yes by default.")
    shape_strength: float | None = Field(None, ge=0, le=1, description="Share of the face's shape carried over.")
    feather: float | None = Field(None, ge=0.01, le=0.5, description="Blend border as a share of the face's width.")
    pixel_boost: int | None = Field(None, ge=1, le=4, description="Neural engines: side in multiples of their own.")
    enhancer: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = Field(
        "", description="Name of a registered enhancer; empty is none."
    )
    format: Literal["png", "jpeg", "webp", "mp4", "webm", "gif"] | None = Field(
        None,
        description="Of the result. Pictures: png (default), jpeg, webp. Films: mp4 (default), webm, gif, webp; "
        "animations stay what they are by default.",
    )
    start_s: float | None = Field(None, ge=0, le=86400, description="Films: from this second on.")
    end_s: float | None = Field(None, gt=0, le=86400, description="Films: up to this second.")
    crf: int | None = Field(
        None, ge=0, le=63, description="Films: constant rate factor, lower is better; H.264 takes 0 to 51, VP9 to 63."
    )
    height_px: int | None = Field(None, ge=16, le=8192, description="Films: height of the result, even.")
    purpose: Purpose | None = None

    @model_validator(mode="after")
    def _need_somebody(self) -> SwapIn:
        alone = ("index", "reference_face", "threshold")
        if (self.face is None) == (self.assignments is None):
            raise PydanticCustomError("face", "give either face or assignments")
        if self.assignments is not None and any(getattr(self, name) is not None for name in alone):
            raise PydanticCustomError("face", "with assignments, give what belongs to a face inside of them")
        return self

    def orders(self) -> list[AssignmentOrder]:
        """Who is put onto which faces.

        Raises:
            LikenessError: INVALID_FIELD for references that are not there, LIKENESS_REFUSED for what it is for.
        """
        current_gateway().policy.require_purpose(self.purpose)
        files = [file.read() for file in self.reference or ()]
        if self.assignments is None:
            if len(files) > 1:
                detail = f"One face takes one reference, got {len(files)}; name them in assignments."
                raise LikenessError("INVALID_FIELD", detail, field="reference")
            return [
                AssignmentOrder(
                    face=str(self.face),
                    selection=self.selection,
                    index=self.index,
                    reference=files[0] if files else None,
                    reference_face=self.reference_face,
                    threshold=self.threshold,
                )
            ]
        return [_order(item, number, files) for number, item in enumerate(self.assignments)]

    def painting(self) -> Painting:
        return Painting(
            engine=self.engine,
            regions=tuple(dict.fromkeys(self.regions)),
            keep_occluders=self.keep_occluders,
            shape_strength=self.shape_strength,
            feather=self.feather,
            pixel_boost=self.pixel_boost,
            enhancer=self.enhancer,
        )

    def picture_format(self) -> PictureFormat:
        """Raises LikenessError INVALID_FIELD when the request is only right for a film."""
        for name in ("start_s", "end_s", "crf", "height_px"):
            if getattr(self, name) is not None:
                raise LikenessError("INVALID_FIELD", f"{name} is for films; the target is a picture.", field=name)
        if self.format is None or self.format in ("png", "jpeg", "webp"):
            return self.format or "png"
        raise LikenessError("INVALID_FIELD", f"A picture cannot be written as {self.format}.", field="format")

    def film_options(self, target_type: str) -> FilmOptions:
        """Raises LikenessError INVALID_FIELD when the request is only right for a picture."""
        same = {"image/gif": "gif", "image/webp": "webp"}
        chosen = self.format or same.get(target_type, "mp4")
        if chosen in ("png", "jpeg"):
            raise LikenessError("INVALID_FIELD", f"A film cannot be written as {chosen}.", field="format")
        if self.crf is not None and self.crf > 51 and chosen != "webm":
            raise LikenessError("INVALID_FIELD", "H.264 takes a crf of 0 to 51.", field="crf")
        return FilmOptions(
            format=chosen,  # type: ignore[arg-type]
            start_s=self.start_s,
            end_s=self.end_s,
            crf=self.crf,
            height_px=self.height_px,
        )


def _order(item: AssignmentIn, number: int, files: list[bytes]) -> AssignmentOrder:
    field = f"assignments.{number}."
    if item.reference is not None and item.reference >= len(files):
        detail = f"There is no reference file {item.reference}; {len(files)} came with the request."
        raise LikenessError("INVALID_FIELD", detail, field=f"{field}reference")
    return AssignmentOrder(
        face=item.face,
        selection=item.selection,
        index=item.index,
        reference=None if item.reference is None else files[item.reference],
        reference_face=item.reference_face,
        threshold=item.threshold,
        field=field,
    )
