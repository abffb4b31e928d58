"""/v1/models: what may be named as model. One engine serves them all; OpenAI's names are there for its clients."""

from __future__ import annotations

from typing import Any, Final, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel

from services.common.errors import LikenessError
from services.gateway.accounts import needs
from services.gateway.api.reasons import fails_with

DEFAULT_MODEL: Final = "likeness-1"
MODEL_IDS: Final = (DEFAULT_MODEL, "tts-1", "tts-1-hd", "gpt-4o-mini-tts")
CREATED_AT: Final = 1_767_225_600  # 2026-01-01
bp = APIBlueprint("models", __name__, url_prefix="/v1", tag="Models")


class ModelOut(BaseModel):
    """A name that requests may give as model."""

    id: str
    object: Literal["model"] = "model"
    created: int = CREATED_AT
    owned_by: Literal["likeness"] = "likeness"


class ModelsOut(BaseModel):
    """All such names."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


def _all_models() -> dict[str, Any]:
    return {"data": [{"id": name} for name in MODEL_IDS]}


@bp.get("/models")
@bp.output(ModelsOut)
@bp.doc(summary="List models", operation_id="list_models")
@needs()
def list_models() -> dict[str, Any]:
    return _all_models()


@bp.get("/audio/models")
@bp.output(ModelsOut)
@bp.doc(summary="List speech models", operation_id="list_audio_models")
@needs()
def list_audio_models() -> dict[str, Any]:
    return _all_models()


@bp.get("/models/<model>")
@bp.output(ModelOut)
@bp.doc(summary="Get a model", operation_id="get_model")
@fails_with("NOT_FOUND")
@needs()
def get_model(model: str) -> dict[str, Any]:
    if model not in MODEL_IDS:
        raise LikenessError("NOT_FOUND", f"There is no model {model!r}; there are {', '.join(MODEL_IDS)}.")
    return {"id": model}
