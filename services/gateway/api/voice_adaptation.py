"""/v1/audio/voices/{voice}/adaptation: what a voice learned from more recordings."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from pydantic import ConfigDict

from services.gateway.accounts import needs
from services.gateway.adaptation import install_adaptation, remove_adaptation
from services.gateway.admission import takes_place
from services.gateway.api.fields import Deleted, FormBody, current_gateway, current_tenant
from services.gateway.api.reasons import CONSENT, STAGE, fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.api.voices import VoiceOut, show_voice

_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
bp = APIBlueprint("voice_adaptation", __name__, url_prefix="/v1/audio/voices", tag="Voices")


class AdaptationIn(FormBody):
    """An adaptation (multipart/form-data)."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["adaptation"], "properties": {"adaptation": _FILE}},
    )

    adaptation: UploadFile


@bp.put("/<voice>/adaptation")
@bp.input(AdaptationIn, location="form_and_files", arg_name="body")
@bp.output(VoiceOut)
@bp.doc(
    summary="Adapt a voice",
    description="Installs a file of `python -m services.synthesizer.adapt`. It is refused unless the voice's speech "
    "with it is at least as like the enrolled person as without.",
    operation_id="adapt_voice",
)
@fails_with("NOT_FOUND", "ADAPTATION_REFUSED", "MEDIA_TOO_LARGE", "SPEECH_TOO_SHORT", *CONSENT, *STAGE)
@needs("voices")
@takes_place
def adapt(voice: str, body: AdaptationIn) -> VoiceOut:
    data = body.adaptation.read()
    found = install_adaptation(
        current_gateway(), current_tenant(), voice, data, field="adaptation", request_id=current_request_id()
    )
    return show_voice(found)


@bp.delete("/<voice>/adaptation")
@bp.output(Deleted)
@bp.doc(summary="Remove a voice's adaptation", operation_id="remove_voice_adaptation")
@fails_with("NOT_FOUND")
@needs("voices")
def remove(voice: str) -> dict[str, Any]:
    return {
        "id": remove_adaptation(current_gateway(), current_tenant(), voice),
        "object": "audio.voice.adaptation.deleted",
    }
