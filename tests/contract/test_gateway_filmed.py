"""Filmed consents: what a person goes through, and the attacks that are refused, each by its name."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import av
import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from services.common.marking.frame_marker import FrameMarker
from services.gateway.app import create_app
from services.gateway.consents.templates import context_of, unseal
from services.gateway.db import Consent, ConsentChallenge, Face, Media
from services.gateway.db.models import utc_now
from services.gateway.settings import GatewaySettings
from tests.contract.consent_people import FACE_CONSENTS, ask, refused
from tests.contract.gateway_fakes import FakeStages, portrait
from tests.contract.turning_faces import film_of_frames, frame_of, look_path, turning_film

OTHERS = {"left": "up", "right": "left", "up": "down", "down": "right"}


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("consent-filmed"))
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


def show(client: FlaskClient, challenge: str, film: bytes) -> Any:
    return client.post(FACE_CONSENTS, data={"challenge": challenge, "film": (io.BytesIO(film), "me.mp4")})


def ask_face(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    return ask(client, FACE_CONSENTS, **fields)


def consent_by(client: FlaskClient, brightness: int, slowness: float) -> str:
    asked = ask_face(client)
    made = show(client, asked["id"], turning_film(asked["turns"], brightness=brightness, slowness=slowness))
    assert made.status_code == 201, made.text
    return str(made.get_json()["id"])


def enrol(client: FlaskClient, consent: str, *brightnesses: int) -> Any:
    pictures = [(io.BytesIO(portrait(value)), "p.png") for value in brightnesses]
    return client.post("/v1/faces", data={"consent": consent, "picture": pictures})


def test_turns_are_drawn_anew_for_everybody(client: FlaskClient) -> None:
    drawn = [tuple(ask_face(client)["turns"]) for _ in range(12)]
    assert len(set(drawn)) > 6
    assert all(len(turns) == 4 and set(turns) <= set(OTHERS) for turns in drawn)


def test_who_makes_the_turns_has_consented_and_can_be_enrolled(client: FlaskClient, app: Any) -> None:
    asked = ask_face(client, purpose="a film")
    film = turning_film(asked["turns"], slowness=0.9)
    made = show(client, asked["id"], film)
    assert made.status_code == 201, made.text
    consent = made.get_json()
    assert (consent["kind"], consent["who"], consent["state"]) == ("filmed", "Ada", "live")
    assert consent["measured"]["largest_distance"] < 0.1
    assert client.get(f"/v1/media/{consent['evidence_media']}").data == film
    gateway = app.extensions["likeness"]
    with gateway.database.session() as session:
        kept = session.get_one(Consent, consent["id"])
    template = unseal(gateway.keys.templates, kept.template, context_of(kept.id, "face"))
    assert template.shape == (128,) and template.tobytes()[:32] not in kept.template
    assert [turn["turn"] for turn in kept.proof["made"]] == asked["turns"]
    face = enrol(client, consent["id"], 120, 125)
    assert face.status_code == 201, face.text


def test_pictures_of_somebody_else_are_not_enrolled_with_it(client: FlaskClient, app: Any) -> None:
    consent = consent_by(client, 120, 1.05)
    said = refused(enrol(client, consent, 200), 403, "CONSENT_FACE_MISMATCH", "picture")
    assert "does not look like the person who was filmed" in said
    refused(enrol(client, consent, 120, 200), 422, "FACE_MISMATCH", "picture")
    with app.extensions["likeness"].database.session() as session:
        assert session.scalars(select(Face).where(Face.consent_id == consent)).all() == []


def test_descriptors_of_enrolled_pictures_are_sealed_and_never_shown(client: FlaskClient, app: Any) -> None:
    face = enrol(client, consent_by(client, 120, 1.1), 120).get_json()
    assert "template" not in str(face) and "descriptor" not in str(face)
    gateway = app.extensions["likeness"]
    with gateway.database.session() as session:
        picture = session.get_one(Face, face["id"]).pictures[0]
    assert len(picture["template"]) > 128 * 4
    assert client.delete(f"/v1/faces/{face['id']}").status_code == 200
    with gateway.database.session() as session:
        assert session.get(Face, face["id"]) is None


def film_like(turns: list[str], kind: str) -> bytes:
    looks = list(look_path(turns, slowness=1.2))
    if kind == "wrong order":
        return turning_film([OTHERS[turns[0]], *turns[1:]], slowness=1.2)
    if kind == "one turn too few":
        return turning_film(turns[:-1], slowness=1.3)
    if kind == "mirrored":
        return turning_film(["left" if t == "right" else "right" if t == "left" else t for t in turns])
    if kind == "no turn":
        return film_of_frames([frame_of(120, (0.0, 0.0))] * 75)
    if kind == "another person in between":
        half = len(looks) // 2
        return film_of_frames([frame_of(120 if n < half else 190, look) for n, look in enumerate(looks)])
    if kind == "cut":  # the same person before another background
        half = len(looks) // 2
        frames = [frame_of(120, look) for look in looks]
        for pixels in frames[half:]:
            pixels[:40, :40] = 250
        return film_of_frames(frames)
    if kind == "too short":
        return film_of_frames([frame_of(120, (0.0, 0.0))] * 20)
    assert kind == "too long"
    return film_of_frames([frame_of(120, (0.0, 0.0))] * (21 * 15))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("wrong order", "PROOF_TASK_FAILED"),
        ("one turn too few", "PROOF_TASK_FAILED"),
        ("no turn", "PROOF_TASK_FAILED"),
        ("another person in between", "PROOF_SPLICED"),
        ("cut", "PROOF_SPLICED"),
        ("too short", "PROOF_UNUSABLE"),
        ("too long", "PROOF_UNUSABLE"),
    ],
)
def test_a_film_that_is_no_proof_leaves_nothing(client: FlaskClient, app: Any, kind: str, reason: str) -> None:
    gateway = app.extensions["likeness"]

    def left() -> tuple[int, int]:
        with gateway.database.session() as session:
            consents = session.scalars(select(Consent.id).where(Consent.kind == "filmed")).all()
            files = session.scalars(select(Media.id).where(Media.purpose == "consent_evidence")).all()
        return len(consents), len(files)

    before = left()
    asked = ask_face(client)
    refused(show(client, asked["id"], film_like(asked["turns"], kind)), 422, reason, "film")
    assert left() == before
    # It was judged: even the right film does not help any more.
    refused(show(client, asked["id"], turning_film(asked["turns"])), 409, "CHALLENGE_USED", "challenge")


def test_a_mirrored_film_is_told_so(client: FlaskClient) -> None:
    asked = next(found for found in iter(lambda: ask_face(client), None) if {"left", "right"} & set(found["turns"]))
    said = refused(show(client, asked["id"], film_like(asked["turns"], "mirrored")), 422, "PROOF_TASK_FAILED", "film")
    assert "mirrored" in said


def test_a_picture_that_is_held_aslant_is_not_alive(client: FlaskClient, stages: FakeStages) -> None:
    asked = ask_face(client)
    stages.doings.flat = True
    try:
        said = refused(show(client, asked["id"], turning_film(asked["turns"])), 422, "PROOF_NOT_LIVE", "film")
    finally:
        stages.doings.flat = False
    assert "flat picture" in said


def test_only_one_person_may_be_in_the_film(client: FlaskClient, stages: FakeStages) -> None:
    asked = ask_face(client)
    stages.doings.people = 2
    try:
        refused(show(client, asked["id"], turning_film(asked["turns"])), 422, "PROOF_UNUSABLE", "film")
    finally:
        stages.doings.people = 1


def test_a_film_is_good_for_one_consent_alone(client: FlaskClient, app: Any) -> None:
    asked = ask_face(client)
    film = turning_film(asked["turns"], slowness=1.4)
    assert show(client, asked["id"], film).status_code == 201
    refused(show(client, asked["id"], film), 409, "CHALLENGE_USED", "challenge")
    again = ask_face(client)
    with app.extensions["likeness"].database.session() as session:  # the same turns happen to be drawn
        challenge = session.get_one(ConsentChallenge, again["id"])
        challenge.task = {**challenge.task, "turns": asked["turns"]}
    said = refused(show(client, again["id"], film), 422, "PROOF_REPLAYED", "film")
    assert "very film" in said


def test_a_copy_of_a_film_is_the_same_film(client: FlaskClient, app: Any) -> None:
    asked = ask_face(client)
    assert show(client, asked["id"], turning_film(asked["turns"], slowness=1.5)).status_code == 201
    frames = [frame_of(140, look, seed=9) for look in look_path(asked["turns"], slowness=1.5)]
    copy = film_of_frames(frames[3:], crf=26)  # trimmed, brighter, coarser
    again = ask_face(client)
    with app.extensions["likeness"].database.session() as session:
        challenge = session.get_one(ConsentChallenge, again["id"])
        challenge.task = {**challenge.task, "turns": asked["turns"]}
    refused(show(client, again["id"], copy), 422, "PROOF_REPLAYED", "film")


def test_a_film_that_carries_our_mark_is_no_proof(client: FlaskClient, app: Any) -> None:
    asked = ask_face(client)
    marked = _marked(turning_film(asked["turns"], slowness=1.6), app.extensions["likeness"].keys.mark)
    refused(show(client, asked["id"], marked), 422, "PROOF_SYNTHETIC", "film")


def test_an_expired_challenge_is_refused_before_the_film_is_read(
    client: FlaskClient, app: Any, stages: FakeStages
) -> None:
    asked = ask_face(client)
    with app.extensions["likeness"].database.session() as session:
        late = update(ConsentChallenge).where(ConsentChallenge.id == asked["id"])
        session.execute(late.values(expires_at=utc_now() - timedelta(seconds=1)))
    seen = stages.doings.detections
    refused(show(client, asked["id"], turning_film(asked["turns"])), 410, "CHALLENGE_EXPIRED", "challenge")
    assert stages.doings.detections == seen


def test_a_file_that_is_no_film_is_refused(client: FlaskClient) -> None:
    asked = ask_face(client)
    refused(show(client, asked["id"], b"no film at all"), 415, "MEDIA_UNSUPPORTED", "film")
    refused(show(client, asked["id"], turning_film(asked["turns"])[:3000]), 422, "MEDIA_UNREADABLE", "film")


def _marked(film: bytes, key: bytes) -> bytes:
    """The film as if it had been made here, large enough to carry a mark."""
    marker = FrameMarker(key, 77)
    buffer = io.BytesIO()
    with av.open(io.BytesIO(film)) as source, av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=15, options={"crf": "18", "preset": "ultrafast"})
        stream.width = stream.height = 480
        stream.pix_fmt = "yuv420p"
        random = np.random.default_rng(0)
        texture = random.integers(-14, 14, (480, 480))
        for number, frame in enumerate(source.decode(video=0)):
            luma = frame.reformat(480, 480, "gray").to_ndarray().astype(np.int64) + texture
            planes = np.full((720, 480), 128, np.uint8)
            planes[:480] = np.clip(luma, 0, 255)
            marker.mark_luma(planes[:480])
            picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            picture.pts = number
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return buffer.getvalue()
