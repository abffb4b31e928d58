"""Nothing leaves unmarked: stages that do not mark, a detector that fails, a full disk, for every kind of output."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.marking.audio import AudioMarker
from services.gateway.app import create_app
from services.gateway.db import AuditEntry, Media
from services.gateway.provenance.gate import CHECK_EVERY_S, HOLD_S, HOLD_STEP_S, SpeechGate
from services.gateway.settings import GatewaySettings
from tests.contract.gateway_fake_faces import film, portrait
from tests.contract.gateway_fakes import FakeStages, ended_job
from tests.contract.gateway_people import enrol_ada, enrol_bob
from tests.contract.gateway_worker import worker_inside

RATE = 16_000
KEY = bytes(range(32))
LONG = "This is said so that there is enough of it for anybody who looks for a mark in what was said."


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("release-gate"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    settings = GatewaySettings(
        data_dir=stages.data_dir, log_level="error", queue_poll_s=0.05, segment_seconds=0.5, **stages.targets()
    )
    made = create_app(settings)
    enrol_ada(made.test_client())
    enrol_bob(made.test_client())
    with worker_inside(settings):
        yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any, stages: FakeStages) -> Iterator[FlaskClient]:
    yield app.test_client()
    stages.doings.unmarked = False


def outputs(app: Any) -> set[str]:
    """Everything kept but what users sent."""
    gateway = app.extensions["likeness"]
    with gateway.database.session() as session:
        sent = set(session.scalars(select(Media.key).where(Media.purpose.not_in(("result", "speech", "manifest")))))
    return {stored.key for stored in gateway.store.list("media/")} - sent


def refusals(app: Any) -> list[str]:
    with app.extensions["likeness"].database.session() as session:
        return [str(entry.details.get("reason")) for entry in session.scalars(select(AuditEntry)) if entry.details]


def ask_speech(client: FlaskClient, **more: Any) -> Any:
    return client.post("/v1/audio/speech", json={"voice": "Ada", "input": LONG, "response_format": "wav", **more})


def ask_picture(client: FlaskClient) -> Any:
    return client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(portrait(80)), "target.png")})


def ask_film(client: FlaskClient) -> Any:
    return client.post("/v1/swaps", data={"face": "Bob", "target": (io.BytesIO(film(10)), "target.mp4")})


def reason_of(client: FlaskClient, answer: Any) -> str:
    """Why the work failed, be it told at once or by its job."""
    told = answer.get_json()
    if answer.status_code != 202:
        assert answer.status_code in (500, 503), told
        return str(told["reason"])
    job = ended_job(client, told.get("job") or told["id"])
    assert job["status"] == "failed", job
    return str(job["error"]["reason"])


WAYS: dict[str, Any] = {
    "speech": lambda client: ask_speech(client, stream=False),
    "speech that is streamed": lambda client: ask_speech(client, stream=True),
    "speech that is queued": lambda client: client.post(
        "/v1/audio/speech", json={"voice": "Ada", "input": LONG}, headers={"Prefer": "respond-async"}
    ),
    "picture": ask_picture,
    "film": ask_film,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_stage_did_not_mark_is_not_released(app: Any, client: FlaskClient, stages: FakeStages, way: str) -> None:
    before = outputs(app)
    stages.doings.unmarked = True
    assert reason_of(client, WAYS[way](client)) == "MARK_FAILED"
    assert outputs(app) == before
    assert "MARK_FAILED" in refusals(app)


@pytest.mark.parametrize("way", ["speech", "speech that is streamed", "picture", "film"])
def test_without_its_detector_nothing_is_released(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def broken(*_: Any, **__: Any) -> bool:
        raise RuntimeError("no detector here")

    for name in ("audio.confirms_audio_mark", "picture.picture_carries", "film.film_carries"):
        monkeypatch.setattr(f"services.common.marking.{name}", broken)
    before = outputs(app)
    assert reason_of(client, WAYS[way](client)) == "MARK_FAILED"
    assert outputs(app) == before


@pytest.mark.parametrize("way", ["picture", "raw speech"])
def test_a_full_disk_is_told_and_leaves_nothing(
    app: Any, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Raw samples have no place for a manifest: the file beside them cannot be written."""
    before = outputs(app)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("services.common.store_folder.os.fsync", full)
        answer = ask_picture(client) if way == "picture" else ask_speech(client, response_format="pcm", stream=False)
    assert (answer.status_code, answer.get_json()["reason"]) == (503, "STORE_UNAVAILABLE")
    assert "No space left" in answer.get_json()["detail"]
    assert outputs(app) == before
    temporary = app.extensions["likeness"].settings.data_dir / "media" / ".tmp"
    assert not temporary.exists() or list(temporary.iterdir()) == []


def test_marked_work_passes_in_every_way(client: FlaskClient) -> None:
    assert ask_speech(client, stream=False).status_code == 200
    streamed = ask_speech(client, stream=True)
    assert streamed.status_code == 200 and len(streamed.data) > RATE
    assert ask_picture(client).status_code == 201


# --- the gate of speech, sample by sample ---


def speech(seconds: float, *, silence_s: float = 0.0) -> FloatArray:
    """A sound that can be marked, 16 kHz."""
    sound = np.random.default_rng(3).standard_normal(round(seconds * RATE)) * 0.1
    return np.concatenate([np.zeros(round(silence_s * RATE)), sound]).astype(np.float32)


def marked(plain: FloatArray, number: int = 7) -> FloatArray:
    marker = AudioMarker(KEY, number)
    return np.concatenate([marker.write(plain), marker.finish()])


def in_pieces(samples: FloatArray) -> list[FloatArray]:
    return np.array_split(samples, -(-samples.size // 800))


def passed(samples: FloatArray) -> float:
    """Seconds that the gate of number 7 let out before it closed."""
    gate, seconds = SpeechGate(KEY, 7), 0.0
    try:
        for piece in in_pieces(samples):
            seconds += gate.write(piece).size / RATE
        seconds += gate.finish().size / RATE
    except LikenessError as error:
        assert error.reason == "MARK_FAILED"
    return seconds


def test_nothing_of_unmarked_speech_gets_out() -> None:
    assert passed(speech(10.0)) == 0.0
    assert passed(speech(2.0)) == 0.0
    assert passed(speech(1.0)) == 0.0


def test_another_number_is_no_mark() -> None:
    assert passed(marked(speech(8.0), 8)) == 0.0


def test_marked_speech_passes_whole_and_is_held_back_only_at_first() -> None:
    gate, pieces = SpeechGate(KEY, 7), in_pieces(marked(speech(9.0)))
    out = [gate.write(piece) for piece in pieces]
    first = next(number for number, piece in enumerate(out) if piece.size)
    assert sum(piece.size for piece in pieces[: first + 1]) <= (HOLD_S + HOLD_STEP_S + 0.05) * RATE
    assert np.array_equal(np.concatenate([*out, gate.finish()]), np.concatenate(pieces))
    assert passed(marked(speech(1.0))) == pytest.approx(1.0)


def test_a_mark_that_ends_closes_the_gate() -> None:
    whole = speech(16.0)
    ends = np.concatenate([marked(whole)[: 4 * RATE], whole[4 * RATE :]])
    assert 4.0 < passed(ends) <= 4.0 + 3 * CHECK_EVERY_S


def test_silence_before_speech_is_waited_through_and_silence_alone_passes() -> None:
    assert passed(np.zeros(2 * RATE, np.float32)) == pytest.approx(2.0)
    assert passed(marked(speech(3.0, silence_s=2.0))) == pytest.approx(5.0)
    assert passed(speech(3.0, silence_s=2.0)) == 0.0
