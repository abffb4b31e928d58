"""Enrolment: recordings become a voice. Nothing is read before the consent was checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from likeness.v1 import encoder_pb2
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.common.errors import LikenessError
from services.common.grants import Grant, voice_template
from services.common.wire import profile_from_wire
from services.gateway.calibration import calibrate
from services.gateway.consent import require_live_consent
from services.gateway.consents.fingerprint import fingerprint
from services.gateway.consents.replays import remember
from services.gateway.consents.spoken import require_consenting_speaker
from services.gateway.context import Gateway
from services.gateway.db import Face, Media, Voice
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.media import publish, withdraw
from services.gateway.message_records import message_record
from services.gateway.profiles import profile_record
from services.gateway.protected.refusal import require_unprotected_voice
from services.gateway.stages import Call, fields_called
from services.gateway.voice_clips import Clip, advice, judge_clips

MAX_CLIPS: Final = 20
MAX_SAMPLE_S: Final = 600.0


@dataclass(frozen=True)
class VoiceOrder:
    """A voice to be enrolled from one or several clips of the same person (files of any supported kind).

    `fast` leaves out the search of the calibration, which takes most of the time.
    """

    name: str
    consent_id: str | None
    clips: Sequence[bytes]
    clips_field: str
    fast: bool = False


def enrol_voice(gateway: Gateway, order: VoiceOrder, *, tenant: str, request_id: str) -> Voice:
    """Checks the consent, joins the clips, embeds, calibrates, and keeps profile, quality and sample.

    A clip of somebody else than the others is left out and reported. With a spoken consent the clips must be of the
    person who spoke it. Protected people are refused.

    Raises:
        LikenessError: CONSENT_*, PROTECTED_PERSON, MEDIA_*, SPEECH_TOO_SHORT, SPEAKER_MISMATCH, ALREADY_EXISTS, and
            what a stage failed with.
    """
    settings = gateway.settings
    expires_at = time.monotonic() + settings.enrolment_deadline_s
    with gateway.database.session() as session:
        consent = require_live_consent(
            session, tenant, order.consent_id, subject="voice", use="speech", field="consent"
        )
        if session.scalar(select(Voice.id).where(Voice.tenant == tenant, Voice.name == order.name)):
            raise name_taken("voice", order.name)
    if not order.clips:
        raise LikenessError("INVALID_FIELD", "A recording of the person is needed.", field=order.clips_field)
    pieces = decode_clips(order.clips, field=order.clips_field)
    call = Call(request_id, expires_at, grant=Grant("enroll", tenant, (consent.id,)))
    with fields_called({"": order.clips_field, "samples_s16": order.clips_field, "samples": order.clips_field}):
        samples, clips = judge_clips(gateway, pieces, call, label=order.name, field=order.clips_field)
        embedded = gateway.stages.embed(samples, call, label=order.name)
    profile = profile_from_wire(embedded.profile, field="encoder.profile")
    require_unprotected_voice(gateway, profile.embedding, consent=consent, field=order.clips_field)
    if consent.kind == "spoken":
        require_consenting_speaker(gateway, consent, embedded, field=order.clips_field)
    call = call.granting(Grant("calibrate", tenant, (consent.id,), frozenset({voice_template(profile.embedding)})))
    calibration = None
    if settings.calibrate:
        rounds = 0 if order.fast else settings.calibration_rounds
        calibration = calibrate(gateway.stages, profile, call, threads=settings.calibration_threads, rounds=rounds)
        profile = calibration.profile
    sample = publish(
        gateway, encode_audio(samples, "flac"), tenant=tenant, content_type="audio/flac", purpose="voice_sample"
    )
    voice = Voice(
        id=new_id("voice"),
        tenant=tenant,
        created_at=utc_now(),
        name=order.name,
        consent_id=consent.id,
        sample_media_id=sample.id,
        profile=profile_record(profile),
        quality=_quality(embedded.quality, clips),
        calibration=None if calibration is None else calibration.to_json(),
    )
    prints = fingerprint(samples)
    keep(gateway, voice, [sample], also=lambda session: remember(session, prints, voice.id))
    return voice


def _quality(quality: encoder_pb2.ReferenceQuality, clips: Sequence[Clip]) -> dict[str, Any]:
    """What the encoder says of all that is used, and what became of each clip."""
    record = message_record(quality)
    return record | {"advice": [*record["advice"], *advice(clips)], "clips": [clip.record() for clip in clips]}


def join_clips(clips: Sequence[bytes], *, field: str) -> FloatArray:
    """The clips end to end, shape (n,); raises as `decode_clips`."""
    return np.concatenate(decode_clips(clips, field=field))


def decode_clips(clips: Sequence[bytes], *, field: str) -> list[FloatArray]:
    """The samples of each clip: mono float32 at 16 kHz, shape (n,).

    Raises:
        LikenessError: MEDIA_* naming `field`, and which clip it is when there are several.
    """
    if len(clips) > MAX_CLIPS:
        raise LikenessError("INVALID_FIELD", f"At most {MAX_CLIPS} clips are taken, got {len(clips)}.", field=field)
    pieces = []
    for number, clip in enumerate(clips, start=1):
        try:
            pieces.append(decode_audio(clip, field=field).samples)
        except LikenessError as error:
            if len(clips) == 1:
                raise
            raise LikenessError(error.reason, f"Clip {number}: {error.detail}", field=field) from error
    total_s = sum(piece.size for piece in pieces) / SAMPLE_RATE_HZ
    if total_s > MAX_SAMPLE_S:
        detail = f"The clips last {total_s:.0f} s together; at most {MAX_SAMPLE_S:.0f} s are taken."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    return pieces


def keep(
    gateway: Gateway,
    record: Voice | Face,
    media: Sequence[Media],
    *,
    also: Callable[[Session], None] = lambda session: None,
) -> None:
    """Adds the record, and what `also` adds to it; when somebody took the name meanwhile, withdraws its media."""
    try:
        with gateway.database.session() as session:
            session.add(record)
            also(session)
    except IntegrityError as error:
        for item in media:
            withdraw(gateway, item)
        raise name_taken("voice" if isinstance(record, Voice) else "face", str(record.name)) from error


def name_taken(what: str, name: str) -> LikenessError:
    return LikenessError(
        "ALREADY_EXISTS", f"There is a {what} named {name!r} already. Choose another name or delete it.", field="name"
    )
