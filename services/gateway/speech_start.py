"""How a sentence begins: voice and consent, the stages, the job's record, in this order."""

from __future__ import annotations

from typing import Final, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.gateway.context import Gateway
from services.gateway.db import Voice, find_named
from services.gateway.figures import SpeechFigures
from services.gateway.jobs import QueueOptions, end_job_in
from services.gateway.jobs.marks import NumberTakenError, claim_number, draw_number
from services.gateway.jobs.records import PLAIN
from services.gateway.jobs.starting import add_running, running_job
from services.gateway.profiles import load_profile, loaded_profile, speech_grant, voice_similarity
from services.gateway.protected.refusal import require_usable
from services.gateway.speech import Speech, SpeechOrder, recorded
from services.gateway.speech_voice import is_still_usable
from services.gateway.stages import Call, until

_ATTEMPTS: Final = 3
_VOICES: Final = cast(Table, Voice.__table__)
_SHORT: Final = ("id", "tenant", "created_at", "consent_id", "calibration", "adapted_at", "adaptation")
_SHORT_VOICE: Final = select(*(_VOICES.c[name] for name in _SHORT)).where(
    _VOICES.c.tenant == bindparam("wanted_tenant"), _VOICES.c.id == bindparam("wanted_id")
)


class _ChangedError(Exception):
    """Since it was found to be usable, the voice was deleted, or its consent revoked."""


def begin_speech(
    gateway: Gateway,
    order: SpeechOrder,
    *,
    tenant: str,
    request_id: str,
    started_at: float,
    options: QueueOptions = PLAIN,
) -> Speech:
    """Checks voice and consent, sets the stages to work, and opens the job record meanwhile.

    Once the record is there, voice and consent are looked at again: in the same transaction, so that whoever deletes
    or revokes them from then on meets it. Without the record nothing is released, and the stages are stopped.

    Args:
        started_at: when the request arrived, on the monotonic clock.

    Raises:
        LikenessError: NOT_FOUND, CONSENT_REQUIRED, CONSENT_NOT_LIVE.
    """
    for _ in range(_ATTEMPTS):
        speech = _begin(gateway, order, tenant, request_id, started_at, options)
        try:
            if _is_opened(gateway, speech):
                return speech
        except BaseException:
            speech.abandon()
            raise
        speech.abandon()
    detail = "The voice, its consent or the number of its mark changed each time the speech began. Ask again."
    raise LikenessError("INTERNAL", detail)


def _begin(
    gateway: Gateway, order: SpeechOrder, tenant: str, request_id: str, started_at: float, options: QueueOptions
) -> Speech:
    """What is allowed to begin, begun; its job has no record yet, but where the stages cannot even be asked."""
    utterance = order.utterance
    parameters = recorded(order)
    with gateway.database.session() as session:
        voice, profile = _find_voice(session, tenant, order.voice)
        consent = require_usable(gateway, session, voice, language=utterance.language, field="voice", profile=profile)
    job = running_job(
        tenant=tenant,
        kind="speech",
        request_id=request_id,
        consent_id=consent.id,
        likeness_id=voice.id,
        parameters=parameters,
        owner=gateway.process_id,
        options=options,
    )
    job.mark = draw_number()
    expires_at = until(started_at + gateway.settings.speech_deadline_s, options.deadline_at)
    try:
        return Speech(
            gateway=gateway,
            call=Call(request_id, expires_at, grant=speech_grant(voice, profile, job.mark, utterance.language)),
            tenant=tenant,
            job=job,
            order=order,
            profile=profile,
            voice_similarity=voice_similarity(voice),
            started_at=started_at,
        )
    except LikenessError as error:
        with gateway.database.session() as session:
            add_running(session, job)
            end_job_in(session, job.id, "failed", figures=SpeechFigures().to_json(), error=error)
        raise


def _find_voice(session: Session, tenant: str, reference: str) -> tuple[Voice, SpeakerProfile]:
    """The voice of that id or name, and its profile, which is long, and read only where it is not at hand.

    Raises LikenessError NOT_FOUND.
    """
    wanted = {"wanted_tenant": tenant, "wanted_id": reference}
    row = session.connection().execute(_SHORT_VOICE, wanted).one_or_none()
    if row is not None:
        voice = Voice(**row._mapping)
        profile = loaded_profile(voice)
        if profile is not None:
            return voice, profile
    voice = find_named(session, Voice, tenant, reference, what="voice", field="voice")
    return voice, load_profile(voice)


def _is_opened(gateway: Gateway, speech: Speech) -> bool:
    """Whether the job has its record now, with a number of its own, and voice and consent are what they were."""
    job = speech.job
    try:
        with gateway.database.session() as session:
            claim_number(session, job)
            add_running(session, job)
            if not is_still_usable(session, job):
                raise _ChangedError
    except (_ChangedError, NumberTakenError):
        return False
    return True
