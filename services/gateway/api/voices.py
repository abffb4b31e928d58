"""/v1/audio/voices: enrol a voice from a recording, list, show, delete."""

from __future__ import annotations

from typing import Any, Literal

from apiflask import APIBlueprint
from apiflask.fields import UploadFile
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

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
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import CONSENT, MEDIA, STAGE, fails_with
from services.gateway.api.scope import current_request_id
from services.gateway.db import Voice, find_named, get_page
from services.gateway.deletion import delete_voice
from services.gateway.enrolment import VoiceOrder, enrol_voice
from services.gateway.media import bytes_of
from services.gateway.profiles import voice_similarity

_FILES: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
bp = APIBlueprint("voices", __name__, url_prefix="/v1/audio/voices", tag="Voices")


class VoiceIn(FormBody):
    """A voice to be enrolled (multipart/form-data)."""

    model_config = ConfigDict(
        json_schema_extra={
            "required": ["name", "consent"],
            "anyOf": [{"required": ["audio_sample"]}, {"required": ["sample_media"]}],
        }
    )

    name: Name
    consent: Identifier | None = Field(None, description="Id of a live voice consent.")
    audio_sample: list[UploadFile] | None = Field(
        None,
        description="Recording of the person, at least one second of speech, in one file or several (at most 20); "
        "those of somebody else than the most of them are left out.",
        json_schema_extra=_FILES,
    )
    sample_media: Identifier | None = Field(
        None, description="Instead of audio_sample: id of media that are here, such as a large upload."
    )
    file: list[UploadFile] | None = Field(None, description="Another name of audio_sample.", json_schema_extra=_FILES)
    calibration: Literal["full", "fast"] = Field(
        "full", description="fast leaves out the search for the likest voice: seconds instead of half a minute."
    )
    type: Literal["audio_sample"] = Field("audio_sample", description="As in OpenAI's API; voices come from samples.")

    @model_validator(mode="after")
    def _need_a_sample(self) -> VoiceIn:
        if sum(map(bool, (self.audio_sample, self.file, self.sample_media))) > 1:
            raise PydanticCustomError("sample", "give the recording as one of audio_sample, file and sample_media")
        return self


class ClipOut(BaseModel):
    """One of the recordings of a voice."""

    number: int = Field(description="From 1, in the order they were sent.")
    seconds: float
    similarity: float | None = Field(
        description="Cosine to the mean of the others; null for a single clip, and for one too short to be judged."
    )
    used: bool = Field(description="False: it sounds like somebody else than the others, and was left out.")


class ReferenceQuality(BaseModel):
    """What the encoder says of the recording."""

    total_seconds: float
    speech_seconds: float
    snr_db: float
    clipped_share: float
    multiple_speakers: bool
    speaker_consistency: float
    advice: list[str] = Field(description="What to do better; empty when nothing is wrong.")
    clips: list[ClipOut] = Field(default_factory=list, description="Empty for voices enrolled before this was kept.")


class TrialOut(BaseModel):
    """One formant warp that was tried."""

    warp: float
    similarity: float


class CalibrationOut(BaseModel):
    """How the voice was adjusted to the recording."""

    warp: float
    similarity: float = Field(description="Cosine, on sentences that the search did not use where there was one.")
    similarity_before: float | None = Field(None, description="The same before the search; null without one.")
    correction: list[float] = Field(
        default_factory=list,
        description="What the search found for all sounds alike, cosines over the mel axis; empty: nothing better.",
    )
    strength: float | None = Field(
        None, description="How much of what was found is used, 0 to 1; null without a search."
    )
    proposals: int = Field(0, description="Sentences that the search listened to.")
    engine: str
    trials: list[TrialOut]


class AdaptationOut(BaseModel):
    """What the voice learned from more recordings."""

    adapted_at: int
    network: str = Field(description="Version of the synthesizer's weights that it belongs to.")
    clips: int = Field(description="Recordings that it was learned from.")
    similarity: float = Field(description="Cosine of the voice's speech to the enrolled recording, with it.")
    similarity_before: float = Field(description="The same without.")


class VoiceOut(BaseModel):
    """An enrolled voice."""

    id: str
    object: Literal["audio.voice"]
    type: Literal["audio_sample"]
    created_at: int
    name: str
    consent: str
    sample_media: str
    similarity: float | None = Field(description="Cosine of the calibrated or adapted voice's speech to the recording.")
    formant_warp: float
    calibration: CalibrationOut | None
    adaptation: AdaptationOut | None
    quality: ReferenceQuality


def show_voice(voice: Voice) -> VoiceOut:
    return VoiceOut.model_validate(
        {
            "id": voice.id,
            "object": "audio.voice",
            "type": "audio_sample",
            "created_at": unix_seconds(voice.created_at),
            "name": voice.name,
            "consent": voice.consent_id,
            "sample_media": voice.sample_media_id,
            "similarity": voice_similarity(voice),
            "formant_warp": voice.profile["formant_warp"],
            "calibration": voice.calibration,
            "adaptation": _adaptation_of(voice),
            "quality": voice.quality,
        }
    )


def _adaptation_of(voice: Voice) -> dict[str, Any] | None:
    if voice.adapted_at is None or voice.adaptation is None:
        return None
    return {"adapted_at": unix_seconds(voice.adapted_at), **voice.adaptation}


@bp.post("")
@bp.input(VoiceIn, location="form_and_files", arg_name="body")
@bp.output(VoiceOut, status_code=201)
@bp.doc(
    summary="Enrol a voice",
    description="Needs a live voice consent. Takes up to half a minute: the voice is adjusted by speaking sentences.",
    operation_id="create_voice",
)
@fails_with(
    "ALREADY_EXISTS",
    "SPEECH_TOO_SHORT",
    "SPEAKER_MISMATCH",
    "NOT_FOUND",
    "MEDIA_CHECKSUM_MISMATCH",
    *CONSENT,
    *MEDIA,
    *STAGE,
)
@needs("voices")
@takes_place
def create_voice(body: VoiceIn) -> VoiceOut:
    gateway, tenant = current_gateway(), current_tenant()
    uploads, field = (body.file, "file") if body.file else (body.audio_sample, "audio_sample")
    clips = [upload.read() for upload in uploads or []]
    if body.sample_media is not None:
        field = "sample_media"
        clips = [bytes_of(gateway, tenant, body.sample_media, kinds=("audio/", "video/"), field=field)]
    order = VoiceOrder(
        name=body.name,
        consent_id=body.consent,
        clips=clips,
        clips_field=field,
        fast=body.calibration == "fast",
    )
    voice = enrol_voice(gateway, order, tenant=tenant, request_id=current_request_id())
    return show_voice(voice)


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[VoiceOut])
@bp.doc(summary="List voices", operation_id="list_voices")
@needs("read", "voices")
def list_voices(page: PageQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        found = get_page(session, Voice, current_tenant(), after=page.after, limit=page.limit)
        return page_out(found, show_voice)


@bp.get("/<voice>")
@bp.output(VoiceOut)
@bp.doc(summary="Get a voice by id or name", operation_id="get_voice")
@fails_with("NOT_FOUND")
@needs("read", "voices")
def get_voice(voice: str) -> VoiceOut:
    with current_gateway().database.session() as session:
        return show_voice(find_named(session, Voice, current_tenant(), voice, what="voice"))


@bp.delete("/<voice>")
@bp.output(Deleted)
@bp.doc(summary="Delete a voice, its recording, and what was spoken with it and kept", operation_id="delete_voice")
@fails_with("NOT_FOUND")
@needs("voices")
def delete_one(voice: str) -> dict[str, Any]:
    return {"id": delete_voice(current_gateway(), current_tenant(), voice), "object": "audio.voice.deleted"}
