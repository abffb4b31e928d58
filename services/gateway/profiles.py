"""The speaker's profile as it is kept with a voice."""

from __future__ import annotations

import json
from typing import Any

from services.common.profile import SpeakerProfile
from services.gateway.db import Voice


def profile_record(profile: SpeakerProfile) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(profile.to_json())
    return record


def load_profile(voice: Voice) -> SpeakerProfile:
    return SpeakerProfile.from_json(json.dumps(voice.profile))


def voice_similarity(voice: Voice) -> float | None:
    """Cosine of the calibrated voice's speech to the enrolled one; None when it was not calibrated."""
    return None if voice.calibration is None else float(voice.calibration["similarity"])
