"""Spoken consents: what a person goes through, and the attacks that are refused, each by its name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.reading_aloud import read_aloud
from services.common.audio import FloatArray
from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.common.marking.audio_marker import AudioMarker
from services.gateway.app import create_app
from services.gateway.consents.listening import NOTHING, Heard
from services.gateway.consents.phrase import Phrase
from services.gateway.consents.templates import context_of, unseal
from services.gateway.consents.words import WORDS
from services.gateway.db import Consent, ConsentChallenge, Media
from services.gateway.settings import GatewaySettings
from tests.contract.consent_people import VOICE_CONSENTS, ask, ear_that_hears, enrol, recording, refused, say
from tests.contract.gateway_fakes import FakeStages


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("consent-spoken"))
    yield fakes
    fakes.close()


@pytest.fixture(scope="module")
def app(stages: FakeStages) -> Iterator[Any]:
    made = create_app(GatewaySettings(data_dir=stages.data_dir, log_level="error", **stages.targets()))
    yield made
    made.extensions["likeness"].close()


@pytest.fixture
def client(app: Any) -> FlaskClient:
    return app.test_client()  # type: ignore[no-any-return]


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Phrase]]:
    with ear_that_hears(monkeypatch) as asked:
        yield asked


def files_of_consents(app: Any) -> int:
    with app.extensions["likeness"].database.session() as session:
        return len(session.scalars(select(Media.id).where(Media.purpose == "consent_evidence")).all())


def test_a_phrase_names_the_person_states_the_consent_and_ends_in_words_nobody_knew(client: FlaskClient) -> None:
    asked = [ask(client, who="Ada Lovelace", languages=["en"]) for _ in range(2)]
    for one in asked:
        assert one["phrase"].startswith("My name is Ada Lovelace. I am an adult. I allow a copy of my voice")
        words = one["phrase"].rpartition(": ")[2].strip(".").split(", ")
        assert len(set(words)) == 6 and set(words) <= set(WORDS)
        assert one["turns"] is None and one["uses"] == ["speech"] and one["languages"] == ["en"]
        assert 500 < datetime.fromisoformat(one["expires_at"]).timestamp() - one["created_at"] <= 601
    assert asked[0]["phrase"] != asked[1]["phrase"]


def test_who_says_the_phrase_has_consented(client: FlaskClient, app: Any, ear: list[Phrase]) -> None:
    asked = ask(client, languages=["en"], purpose="an audio book", expires_at="2100-01-01T00:00:00Z")
    made = say(client, asked["id"], recording(take=1))
    assert made.status_code == 201, made.text
    consent = made.get_json()
    assert ear[0].text == asked["phrase"]
    assert (consent["kind"], consent["who"], consent["state"]) == ("spoken", "Ada", "live")
    assert (consent["languages"], consent["purpose"], consent["adult"]) == (["en"], "an audio book", True)
    assert consent["expires_at"] == "2100-01-01T00:00:00Z" and consent["recorded_by"] == "local"
    assert consent["evidence"] == asked["phrase"] and consent["measured"]["words_right"] == 6
    kept = client.get(f"/v1/media/{consent['evidence_media']}")
    assert kept.data == encode_audio(recording(take=1), "wav")
    assert refused(client.delete(f"/v1/media/{consent['evidence_media']}"), 409, "IN_USE")


def test_the_speakers_vector_is_kept_sealed(client: FlaskClient, app: Any, ear: list[Phrase]) -> None:
    consent = say(client, ask(client)["id"], recording(take=2)).get_json()
    gateway = app.extensions["likeness"]
    with gateway.database.session() as session:
        template = session.get_one(Consent, consent["id"]).template
    vector = unseal(gateway.keys.templates, template, context_of(consent["id"], "voice"))
    assert vector.shape == (256,) and vector.tobytes() not in template


def test_the_voice_must_be_of_who_spoke(client: FlaskClient, ear: list[Phrase]) -> None:
    consent = say(client, ask(client)["id"], recording(200.0, take=3)).get_json()["id"]
    told = refused(
        enrol(client, consent, recording(310.0, take=4), "other"), 403, "CONSENT_SPEAKER_MISMATCH", "audio_sample"
    )
    assert "similarity" in told
    assert enrol(client, consent, recording(201.0, take=5), "Ada").status_code == 201


def test_the_recording_of_the_consent_may_also_be_the_voices_sample(client: FlaskClient, ear: list[Phrase]) -> None:
    consent = say(client, ask(client)["id"], recording(take=6)).get_json()["id"]
    assert enrol(client, consent, recording(take=6), "from the phrase").status_code == 201


# --- attacks: each is refused by its name, and leaves nothing ---


def rest_of(samples: FloatArray, kind: str) -> FloatArray:
    return decode_audio(encode_audio(samples, kind)).samples  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def heard_before(app: Any) -> FloatArray:
    """A recording that is somebody's consent already."""
    samples = read_audio(path_of(0))
    with pytest.MonkeyPatch.context() as patch, ear_that_hears(patch):
        client = app.test_client()
        assert say(client, ask(client)["id"], samples).status_code == 201
    return samples


@pytest.mark.parametrize("disguise", ["as it was", "mp3", "opus", "quieter", "a part", "with more"])
def test_a_recording_is_no_consent_twice(
    client: FlaskClient, app: Any, ear: list[Phrase], heard_before: FloatArray, disguise: str
) -> None:
    changed = {
        "as it was": lambda: heard_before,
        "mp3": lambda: encoded(heard_before, "mp3"),
        "opus": lambda: encoded(heard_before, "opus"),
        "quieter": lambda: 0.2 * heard_before,
        "a part": lambda: heard_before[16_000:],
        "with more": lambda: np.concatenate([recording(take=7, seconds=2.0), heard_before]),
    }[disguise]()
    before = files_of_consents(app)
    refused(say(client, ask(client)["id"], np.asarray(changed, np.float32)), 422, "PROOF_REPLAYED", "recording")
    assert files_of_consents(app) == before and not ear


def encoded(samples: FloatArray, kind: str) -> FloatArray:
    return decode_audio(encode_audio(samples, kind)).samples  # type: ignore[arg-type]


def test_a_voices_sample_is_no_consent_either(client: FlaskClient, ear: list[Phrase]) -> None:
    body = {"who": "Eve", "kind": "attested", "attested_by": "Eve", "evidence": "says Eve"}
    attested = client.post(VOICE_CONSENTS, json=body).get_json()["id"]
    sample = read_audio(path_of(1))
    assert enrol(client, attested, sample, "from the radio").status_code == 201
    refused(say(client, ask(client)["id"], sample), 422, "PROOF_REPLAYED", "recording")


def test_speech_that_was_made_here_cannot_consent(client: FlaskClient, app: Any, ear: list[Phrase]) -> None:
    marker = AudioMarker(app.extensions["likeness"].keys.mark, 4711)
    speech = np.concatenate([read_audio(path_of(number)) for number in (2, 3, 4)])  # as long as a phrase
    marked = np.concatenate([marker.write(speech), marker.finish()])
    refused(say(client, ask(client)["id"], marked), 422, "PROOF_SYNTHETIC", "recording")


@pytest.mark.parametrize(
    ("heard", "says"),
    [
        (lambda phrase: NOTHING, "not the phrase"),
        (lambda phrase: Heard(True, True, phrase.words, ()), "do not allow"),
        (lambda phrase: Heard(True, False, Phrase.draw("Ada", "consent").words, ()), "were understood"),
        (lambda phrase: Heard(True, False, (*phrase.words[:4], "x", "y"), ()), "4 were understood"),
        (lambda phrase: Heard(True, False, tuple(reversed(phrase.words)), ()), "were understood"),
    ],
    ids=["other speech", "a refusal", "words of another phrase", "two words wrong", "wrong order"],
)
def test_other_words_are_no_consent(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, heard: Any, says: str
) -> None:
    challenge = ask(client)["id"]
    with ear_that_hears(monkeypatch, heard):
        told = refused(say(client, challenge, recording(take=20)), 422, "PROOF_TASK_FAILED", "recording")
    assert says in told


def test_a_phrase_that_two_people_read_in_turn_is_no_consent(
    client: FlaskClient, app: Any, stages: FakeStages, ear: list[Phrase], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of_consents(app)
    monkeypatch.setattr(stages.doings, "two_speak", True)
    told = refused(say(client, ask(client)["id"], recording(take=25)), 422, "PROOF_SPLICED", "recording")
    assert "One person" in told and files_of_consents(app) == before


def test_a_phrase_is_for_one_recording_whatever_comes_of_it(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed, failed = ask(client)["id"], ask(client)["id"]
    with ear_that_hears(monkeypatch):
        assert say(client, passed, recording(take=30)).status_code == 201
        refused(say(client, passed, recording(take=31)), 409, "CHALLENGE_USED", "challenge")
    with ear_that_hears(monkeypatch, lambda phrase: NOTHING):
        refused(say(client, failed, recording(take=32)), 422, "PROOF_TASK_FAILED", "recording")
    with ear_that_hears(monkeypatch):
        refused(say(client, failed, recording(take=33)), 409, "CHALLENGE_USED", "challenge")


def test_a_file_that_cannot_be_read_does_not_use_the_phrase_up(client: FlaskClient, ear: list[Phrase]) -> None:
    challenge = ask(client)["id"]
    short = say(client, challenge, recording(take=34, seconds=0.5))
    refused(short, 422, "SPEECH_TOO_SHORT", "recording")
    refused(say(client, challenge, recording(take=34, seconds=61.0), kind="flac"), 413, "MEDIA_TOO_LARGE", "recording")
    assert say(client, challenge, recording(take=34)).status_code == 201


def test_a_phrase_expires(client: FlaskClient, app: Any, ear: list[Phrase]) -> None:
    challenge = ask(client)["id"]
    with app.extensions["likeness"].database.session() as session:
        past = update(ConsentChallenge).where(ConsentChallenge.id == challenge)
        session.execute(past.values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    refused(say(client, challenge, recording(take=40)), 410, "CHALLENGE_EXPIRED", "challenge")
    refused(say(client, "chal_0", recording(take=40)), 404, "NOT_FOUND", "challenge")
    refused(say(client, None, recording(take=40)), 400, "INVALID_FIELD", "challenge")


def test_a_phrase_for_a_voice_is_none_for_a_face(client: FlaskClient, ear: list[Phrase]) -> None:
    turns = ask(client, "/v1/face_consents")
    assert turns["phrase"] is None and len(turns["turns"]) == 4
    refused(say(client, turns["id"], recording(take=41)), 404, "NOT_FOUND", "challenge")


def test_speech_in_another_language_is_refused(client: FlaskClient, ear: list[Phrase]) -> None:
    consent = say(client, ask(client, languages=["de", "fr-CA"])["id"], recording(take=50)).get_json()["id"]
    assert enrol(client, consent, recording(take=51), "Deutsch").status_code == 201
    spoken = client.post("/v1/audio/speech", json={"voice": "Deutsch", "input": "Hello."})
    assert "de, fr-CA" in refused(spoken, 403, "CONSENT_REQUIRED", "voice")
    spoken = client.post("/v1/audio/speech", json={"voice": "Deutsch", "input": "Hallo.", "language": "de-AT"})
    assert spoken.get_json(silent=True) is None or spoken.get_json()["reason"] != "CONSENT_REQUIRED"


def test_openais_fields_find_the_open_phrase(client: FlaskClient, ear: list[Phrase]) -> None:
    """`client.audio.voice_consents.create(name=..., language=..., recording=...)` knows of no challenge."""
    ask(client, who="Grace")
    made = say(client, None, recording(take=60), name="Grace", language="en-US")
    assert made.status_code == 201, made.text
    assert {name: made.get_json()[name] for name in ("name", "language", "object")} == {
        "name": "Grace",
        "language": "en",
        "object": "audio.voice_consent",
    }
    refused(say(client, None, recording(take=61), name="Grace", language="en-US"), 400, "INVALID_FIELD", "challenge")
    refused(say(client, None, recording(take=61), name="Grace", language="de"), 422, "LANGUAGE_UNSUPPORTED", "language")


@pytest.mark.slow
def test_a_phrase_that_is_read_aloud_is_heard_and_that_of_another_is_not(client: FlaskClient) -> None:
    """No part is faked but the encoder: the project's synthesizer reads, pocketsphinx listens."""
    first, second, third = (ask(client, who="Ada Lovelace") for _ in range(3))
    consent = say(client, first["id"], read_aloud(first["phrase"]))
    assert consent.status_code == 201, consent.text
    assert consent.get_json()["measured"]["words_right"] >= 5
    # Each at another pace: the same words at the same pace would be a replay, as machines say them the same way twice.
    other_words = read_aloud(ask(client, who="Ada Lovelace")["phrase"], seed=1, speed=0.9)
    refused(say(client, second["id"], other_words), 422, "PROOF_TASK_FAILED", "recording")
    negated = read_aloud(third["phrase"].replace("I allow", "I do not allow"), seed=2, speed=1.1)
    assert "do not allow" in refused(say(client, third["id"], negated), 422, "PROOF_TASK_FAILED", "recording")
