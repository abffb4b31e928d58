"""Ada and Bob, whom the fake stages know: her voice is a sine, his face a disc."""

from __future__ import annotations

import io
from typing import Any

from flask.testing import FlaskClient

from services.common.encode_audio import encode_audio
from tests.contract.gateway_fakes import portrait, sine

CONSENT = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}


def new_consent(client: FlaskClient, kind: str = "voice") -> str:
    """Id of a live consent; `kind` is voice or face."""
    path = "/v1/audio/voice_consents" if kind == "voice" else "/v1/face_consents"
    made: str = _created(client.post(path, json=CONSENT))["id"]
    return made


def enrol_ada(client: FlaskClient, name: str = "Ada") -> dict[str, Any]:
    recording = (io.BytesIO(encode_audio(sine(200.0, 2.0), "wav")), "ada.wav")
    form = {"name": name, "consent": new_consent(client), "audio_sample": recording}
    return _created(client.post("/v1/audio/voices", data=form))


def enrol_bob(client: FlaskClient, name: str = "Bob") -> dict[str, Any]:
    picture = (io.BytesIO(portrait()), "bob.png")
    form = {"name": name, "consent": new_consent(client, "face"), "picture": picture}
    return _created(client.post("/v1/faces", data=form))


def _created(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.get_json()
    made: dict[str, Any] = answer.get_json()
    return made
