"""Adaptations of voices over HTTP: installed, spoken with, removed; refused when they are not of this person."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from services.common.sounds import SHAPE_SIZE, SOUND_COUNT
from services.gateway.app import create_app
from services.gateway.calibration import PROOF
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_adaptations import adaptation, file_of
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_people import enrol_ada


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("gateway-adaptation"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    made = create_app(GatewaySettings(data_dir=stages.data_dir, **stages.targets()))
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any) -> Iterator[FlaskClient]:
    client = app.test_client()
    yield client
    client.delete("/v1/audio/voices/Ada")


def put(client: FlaskClient, data: bytes, voice: str = "Ada") -> Any:
    form = {"adaptation": (io.BytesIO(data), "voice.safetensors")}
    return client.put(f"/v1/audio/voices/{voice}/adaptation", data=form)


def speak(client: FlaskClient) -> None:
    body = {"voice": "Ada", "input": "Hello there.", "response_format": "wav", "stream": False}
    assert client.post("/v1/audio/speech", json=body).status_code == 200


def test_a_voice_speaks_with_its_adaptation_until_it_is_removed(client: FlaskClient, stages: FakeStages) -> None:
    made = enrol_ada(client)
    speak(client)  # from now on the profile is at hand, as enrolled
    assert made["adaptation"] is None
    answer = put(client, file_of(adaptation()))
    assert answer.status_code == 200, answer.get_json()
    adapted = answer.get_json()
    assert adapted["adaptation"]["clips"] == 12 and adapted["adaptation"]["network"] == "net-1"
    assert adapted["similarity"] == adapted["adaptation"]["similarity"] >= adapted["adaptation"]["similarity_before"]
    assert client.get("/v1/audio/voices/Ada").get_json() == adapted
    speak(client)
    assert list(stages.doings.speakers[-1].adaptation.offsets) == pytest.approx([0.25] * SOUND_COUNT * SHAPE_SIZE)

    gone = client.delete("/v1/audio/voices/Ada/adaptation")
    assert gone.get_json() == {"id": made["id"], "object": "audio.voice.adaptation.deleted", "deleted": True}
    speak(client)
    assert not stages.doings.speakers[-1].HasField("adaptation")
    assert client.get("/v1/audio/voices/Ada").get_json() == made
    assert client.delete("/v1/audio/voices/Ada/adaptation").status_code == 404


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (file_of(adaptation(), embedding_hz=400.0), "ADAPTATION_REFUSED"),  # says itself that it is another's
        (file_of(adaptation(hz=400.0)), "ADAPTATION_REFUSED"),  # says that it is hers, and speaks as another
        (file_of(adaptation(warp=0.85)), "ADAPTATION_REFUSED"),  # less alike than without
        (file_of(replace(adaptation(), offsets=np.full((SOUND_COUNT, SHAPE_SIZE), 1e4))), "INVALID_FIELD"),
        (file_of(replace(adaptation(), log_f0_median=20.0)), "INVALID_FIELD"),
        (b"not a file of ours", "INVALID_FIELD"),
        (b"", "INVALID_FIELD"),
        (bytes(70_000), "MEDIA_TOO_LARGE"),
    ],
)
def test_what_does_not_fit_the_voice_is_refused_and_changes_nothing(
    client: FlaskClient, data: bytes, reason: str
) -> None:
    made = enrol_ada(client)
    answer = put(client, data)
    assert answer.get_json()["reason"] == reason
    assert answer.get_json()["errors"][0]["field"].startswith("adaptation")
    assert client.get("/v1/audio/voices/Ada").get_json() == made


def test_without_a_live_consent_nothing_is_installed(client: FlaskClient) -> None:
    made = enrol_ada(client)
    client.post(f"/v1/audio/voice_consents/{made['consent']}/revoke")
    assert put(client, file_of(adaptation())).get_json()["reason"] == "CONSENT_NOT_LIVE"
    assert client.get("/v1/audio/voices/Ada").get_json()["adaptation"] is None


def test_an_adaptation_is_audited(client: FlaskClient) -> None:
    enrol_ada(client)
    put(client, file_of(adaptation()))
    client.delete("/v1/audio/voices/Ada/adaptation")
    actions = [entry["action"] for entry in client.get("/v1/audit").get_json()["data"]]
    assert {"adapt_voice", "remove_voice_adaptation"} <= set(actions)


def test_an_adaptation_that_loses_words_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made = enrol_ada(client)
    heard = iter([*(sentence.lower().split() for sentence in PROOF), ["well"], ["well"]])
    monkeypatch.setattr("services.gateway.adaptation.recognise", lambda samples: next(heard))
    answer = put(client, file_of(adaptation())).get_json()
    assert answer["reason"] == "ADAPTATION_REFUSED" and "hard to understand" in answer["detail"]
    assert client.get("/v1/audio/voices/Ada").get_json() == made
