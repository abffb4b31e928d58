"""The speaker's profile as it is kept with a voice."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from services.common.grants import Grant, voice_template
from services.common.profile import SpeakerProfile
from services.gateway.db import Voice

MAX_LOADED: Final = 256
_loaded: Final[dict[tuple[str, datetime], SpeakerProfile]] = {}


def profile_record(profile: SpeakerProfile) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(profile.to_json())
    return record


def load_profile(voice: Voice) -> SpeakerProfile:
    """A voice's profile changes only when it is adapted: the last few are kept, as reading one takes a millisecond."""
    profile = loaded_profile(voice)
    if profile is None:
        profile = SpeakerProfile.from_json(json.dumps(voice.profile))
        if len(_loaded) >= MAX_LOADED:
            _loaded.clear()
        _loaded[_version(voice)] = profile
    return profile


def loaded_profile(voice: Voice) -> SpeakerProfile | None:
    """The profile where it has been kept, so that nobody needs to read it from the database."""
    return _loaded.get(_version(voice))


def _version(voice: Voice) -> tuple[str, datetime]:
    return voice.id, voice.adapted_at or voice.created_at


def speech_grant(voice: Voice, profile: SpeakerProfile, mark: int | None, language: str) -> Grant:
    """For speech in that voice, and in no other, in that language, that carries the mark."""
    template = voice_template(profile.embedding)
    return Grant("speech", voice.tenant, (voice.id,), frozenset({template}), mark or 0, language=language)


def voice_similarity(voice: Voice) -> float | None:
    """Cosine of the calibrated or adapted voice's speech to the enrolled one; None when it is neither."""
    if voice.adaptation is not None:
        return float(voice.adaptation["similarity"])
    return None if voice.calibration is None else float(voice.calibration["similarity"])
