"""People who consent, for tests: their recordings are tones that the fake encoder tells apart, and a fake ear hears."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.encode_audio import encode_audio
from services.gateway.consents import spoken
from services.gateway.consents.listening import Heard
from services.gateway.consents.phrase import Phrase

VOICE_CONSENTS = "/v1/audio/voice_consents"
FACE_CONSENTS = "/v1/face_consents"


def recording(pitch_hz: float = 200.0, *, take: int, seconds: float = 4.0) -> FloatArray:
    """A tone with noise of its own: of each take another recording of the same voice."""
    t = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    noise = np.random.default_rng(take).standard_normal(t.size)
    return np.asarray(0.4 * np.sin(2 * np.pi * pitch_hz * t) + 0.02 * noise, np.float32)


def ask(client: FlaskClient, path: str = VOICE_CONSENTS, **fields: Any) -> dict[str, Any]:
    answer = client.post(f"{path}/challenges", json={"who": "Ada", **fields})
    assert answer.status_code == 201, answer.text
    asked: dict[str, Any] = answer.get_json()
    return asked


def say(client: FlaskClient, challenge: str | None, samples: FloatArray, kind: str = "wav", **fields: Any) -> Any:
    """Sends a recording as the answer to a challenge."""
    form = {"recording": (io.BytesIO(encode_audio(samples, kind)), f"phrase.{kind}"), **fields}  # type: ignore[arg-type]
    if challenge is not None:
        form["challenge"] = challenge
    return client.post(VOICE_CONSENTS, data=form)


@contextmanager
def ear_that_hears(monkeypatch: pytest.MonkeyPatch, heard: Any = None) -> Iterator[list[Phrase]]:
    """Hears every phrase as it was set, or what `heard` makes of it; the phrases that were listened for."""
    asked: list[Phrase] = []

    def listen(samples: FloatArray, phrase: Phrase) -> Heard:
        asked.append(phrase)
        return Heard(True, False, phrase.words, ()) if heard is None else heard(phrase)

    with monkeypatch.context() as patch:
        patch.setattr(spoken, "listen", listen)
        yield asked


def enrol(client: FlaskClient, consent: str, samples: FloatArray, name: str) -> Any:
    clip = (io.BytesIO(encode_audio(samples, "wav")), "sample.wav")
    return client.post(
        "/v1/audio/voices", data={"name": name, "consent": consent, "audio_sample": clip, "calibration": "fast"}
    )


def refused(answer: Any, status: int, reason: str, field: str | None = None) -> str:
    """Asserts the refusal; its detail."""
    body = answer.get_json()
    assert (answer.status_code, body.get("reason"), body.get("field")) == (status, reason, field), body
    return str(body["detail"])
