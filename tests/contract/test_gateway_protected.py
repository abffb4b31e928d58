"""Protected people: who registers them, who is refused because of them, and what nobody ever sees."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from services.common.encode_audio import encode_audio
from services.common.store import open_store
from services.gateway.app import create_app
from services.gateway.backup import restore_backup, write_backup
from services.gateway.consents.templates import seal
from services.gateway.db import AuditEntry, Face, Media, ProtectedPerson, RecordingHash
from services.gateway.settings import GatewaySettings
from tests.contract.consent_people import ear_that_hears, recording, refused
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages, portrait, sine
from tests.contract.gateway_people import enrol_ada, new_consent
from tests.contract.turning_faces import turning_film

DOCUMENT = b"%PDF-1.7 signed by a person"


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeStages]:
    fakes = FakeStages(tmp_path_factory.mktemp("protected"))
    yield fakes
    fakes.close()


@contextmanager
def keyed_gateway(stages: FakeStages, folder: Path, **settings: Any) -> Iterator[KeyedGateway]:
    store = {"store_url": str(stages.data_dir / "objects")}  # where the stages look, too
    made = KeyedGateway(folder, calibrate=False, protected_refresh_s=0.0, **store, **settings, **stages.targets(folder))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def keyed(stages: FakeStages, tmp_path: Path) -> Iterator[KeyedGateway]:
    with keyed_gateway(stages, tmp_path) as made:
        yield made


def narrow(keyed: KeyedGateway, tenant: str) -> FlaskClient:
    """A client of a tenant that may register, and administer nothing."""
    return keyed.client(keyed.new_key(tenant=tenant, scopes=["voices", "faces"])["key"])


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ear_that_hears(monkeypatch) as asked:
        yield asked


def ask(client: FlaskClient, **body: str) -> dict[str, Any]:
    answer = client.post("/v1/protected/challenges", json=body)
    assert answer.status_code == 201, answer.text
    asked: dict[str, Any] = answer.get_json()
    return asked


def with_recording(challenge: str, pitch_hz: float, take: int) -> dict[str, Any]:
    data = encode_audio(recording(pitch_hz, take=take), "wav")
    return {"challenge": challenge, "recording": (io.BytesIO(data), "r.wav")}


def with_film(asked: dict[str, Any], brightness: int, slowness: float = 1.0) -> dict[str, Any]:
    film = turning_film(asked["turns"], brightness=brightness, slowness=slowness)
    return {"challenge": asked["id"], "film": (io.BytesIO(film), "f.mp4")}


def protect_voice(client: FlaskClient, pitch_hz: float, take: int = 1) -> dict[str, Any]:
    asked = ask(client, subject="voice", who="Ada")
    return created(client.post("/v1/protected", data=with_recording(asked["id"], pitch_hz, take)))


def protect_face(client: FlaskClient, brightness: int, slowness: float = 1.0) -> dict[str, Any]:
    asked = ask(client, subject="face", who="Bob")
    return created(client.post("/v1/protected", data=with_film(asked, brightness, slowness)))


def attested(kind: str, *files: bytes, **fields: Any) -> dict[str, Any]:
    return {
        "who": "Ada",
        "attested_by": "A. Notary",
        "document": (io.BytesIO(DOCUMENT), "d.pdf"),
        kind: [(io.BytesIO(file), "f") for file in files],
        **fields,
    }


def created(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def enrol_voice(client: FlaskClient, pitch_hz: float, name: str = "x") -> Any:
    clip = (io.BytesIO(encode_audio(sine(pitch_hz, 2.0), "wav")), "s.wav")
    form = {"name": name, "consent": new_consent(client), "audio_sample": clip, "calibration": "fast"}
    return client.post("/v1/audio/voices", data=form)


def enrol_face(client: FlaskClient, *brightnesses: int, name: str = "y") -> Any:
    pictures = [(io.BytesIO(portrait(value)), "p.png") for value in brightnesses]
    return client.post("/v1/faces", data={"name": name, "consent": new_consent(client, "face"), "picture": pictures})


def swap(client: FlaskClient, face: str = "y", **fields: Any) -> Any:
    return client.post("/v1/swaps", data={"face": face, "target": (io.BytesIO(portrait(80)), "t.png"), **fields})


def test_a_protected_voice_cannot_be_enrolled_by_any_tenant(keyed: KeyedGateway, hearing: Any) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    entry = protect_voice(a, 200.0)
    assert (entry["subject"], entry["who"], entry["kind"], entry["attested_by"]) == ("voice", "Ada", "spoken", None)
    for client in (a, b):
        said = refused(enrol_voice(client, 201.0), 403, "PROTECTED_PERSON", "audio_sample")
        assert "Ada" not in said and entry["id"] not in said
    assert enrol_voice(b, 300.0).status_code == 201
    assert len(b.get("/v1/media").get_json()["data"]) == 1  # nothing of what was refused


def test_a_protected_face_cannot_be_enrolled_by_any_tenant(keyed: KeyedGateway) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    entry = protect_face(a, 120)
    assert (entry["subject"], entry["kind"]) == ("face", "filmed")
    for client in (a, b):
        refused(enrol_face(client, 125), 403, "PROTECTED_PERSON", "picture")
        refused(enrol_face(client, 185, 165), 403, "PROTECTED_PERSON", "picture")  # one of two is near enough
    assert b.get("/v1/media").get_json()["data"] == []
    assert enrol_face(b, 230).status_code == 201


def test_what_was_enrolled_before_cannot_be_used_any_more(keyed: KeyedGateway, hearing: Any) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    enrol_ada(b)  # 200 Hz
    assert enrol_face(b, 180).status_code == 201
    assert b.post("/v1/audio/speech", json={"voice": "Ada", "input": "Hello."}).status_code == 200
    assert swap(b).status_code == 201
    protect_voice(a, 200.0)
    protect_face(a, 180)
    for fields in ({}, {"Prefer": "respond-async"}):
        spoken = b.post("/v1/audio/speech", json={"voice": "Ada", "input": "Hello."}, headers=fields)
        refused(spoken, 403, "PROTECTED_PERSON", "voice")
    refused(swap(b), 403, "PROTECTED_PERSON", "face")
    refused(b.post("/v1/grants", json={"voice": "Ada"}), 403, "PROTECTED_PERSON", "voice")


def test_faces_from_before_templates_were_kept_are_compared_too(keyed: KeyedGateway) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    face = created(enrol_face(b, 180))
    with keyed.gateway.database.session() as session:
        old = session.get_one(Face, face["id"])
        old.pictures = [{name: value for name, value in old.pictures[0].items() if name != "template"}]
    protect_face(a, 120)  # somebody else: the template is taken, and compared
    assert swap(b).status_code == 201
    with keyed.gateway.database.session() as session:
        assert session.get_one(Face, face["id"]).pictures[0]["template"]
    protect_face(a, 180, slowness=1.2)
    refused(swap(b), 403, "PROTECTED_PERSON", "face")


def test_a_protected_person_is_no_reference_of_a_swap(keyed: KeyedGateway) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    assert enrol_face(b, 230).status_code == 201
    assert enrol_face(b, 120, name="target").status_code == 201
    reference = {"selection": "reference", "reference": (io.BytesIO(portrait(120)), "r.png")}
    assert swap(b, **reference).status_code == 201
    protect_face(a, 120)
    reference["reference"] = (io.BytesIO(portrait(120)), "r.png")
    refused(swap(b, **reference), 403, "PROTECTED_PERSON", "reference")
    refused(swap(b, selection="reference", reference_face="target"), 403, "PROTECTED_PERSON", "reference_face")


def test_an_administrator_attests_with_a_document(keyed: KeyedGateway) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    clip = encode_audio(sine(200.0, 2.0), "wav")
    entry = created(a.post("/v1/protected", data=attested("audio_sample", clip)))
    assert (entry["kind"], entry["attested_by"], entry["subject"]) == ("attested", "A. Notary", "voice")
    refused(enrol_voice(b, 200.0), 403, "PROTECTED_PERSON", "audio_sample")
    face = created(a.post("/v1/protected", data=attested("picture", portrait(120), portrait(130))))
    assert face["subject"] == "face"
    refused(enrol_face(b, 125), 403, "PROTECTED_PERSON", "picture")
    documents = [m for m in a.get("/v1/media").get_json()["data"] if m["content_type"] == "application/pdf"]
    assert len(documents) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"attested_by": None}, "attested_by"),
        ({"document": None}, "document"),
        ({"audio_sample": None}, "audio_sample"),
    ],
)
def test_an_attested_registration_is_whole(keyed: KeyedGateway, changes: dict[str, Any], field: str) -> None:
    data = attested("audio_sample", encode_audio(sine(200.0, 2.0), "wav"))
    data = {name: value for name, value in data.items() if name not in changes}
    refused(keyed.tenant("a").post("/v1/protected", data=data), 400, "INVALID_FIELD", field)


def test_who_is_no_administrator_cannot_attest(keyed: KeyedGateway) -> None:
    keyed.tenant("a")
    client = narrow(keyed, "a")
    data = attested("audio_sample", encode_audio(sine(200.0, 2.0), "wav"))
    refused(client.post("/v1/protected", data=data), 403, "INSUFFICIENT_SCOPE")


def test_no_template_leaves_and_no_other_tenant_sees_an_entry(keyed: KeyedGateway, hearing: Any) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    entry = protect_voice(a, 200.0)
    fields = {"id", "object", "created_at", "subject", "who", "kind", "attested_by"}
    assert set(entry) == set(a.get(f"/v1/protected/{entry['id']}").get_json()) == fields
    assert a.get("/v1/protected").get_json()["data"] == [entry]
    assert b.get("/v1/protected").get_json()["data"] == []
    refused(b.get(f"/v1/protected/{entry['id']}"), 404, "NOT_FOUND")
    refused(b.delete(f"/v1/protected/{entry['id']}"), 404, "NOT_FOUND")
    with keyed.gateway.database.session() as session:
        row = session.get_one(ProtectedPerson, entry["id"])
        assert len(row.template) == 1 + 12 + 256 * 4 + 16
        assert session.scalars(select(Media).where(Media.tenant == "a")).all() == []  # the proof is not kept


def test_the_audit_knows_which_entry_refused(keyed: KeyedGateway, hearing: Any) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    entry = protect_voice(a, 200.0)
    refused(enrol_voice(b, 200.0), 403, "PROTECTED_PERSON", "audio_sample")
    with keyed.gateway.database.session() as session:
        wrote = session.scalars(select(AuditEntry).where(AuditEntry.action == "create_voice")).all()
    assert wrote[-1].details["protected"] == entry["id"] and wrote[-1].details["measure"] >= 0.86


def test_who_proves_to_be_the_person_is_removed_and_erased(keyed: KeyedGateway, hearing: Any) -> None:
    a, b = keyed.tenant("a"), keyed.tenant("b")
    entry = protect_voice(a, 200.0)
    path = f"/v1/protected/{entry['id']}/removal"
    # A phrase for protection removes nobody, and somebody else's voice does not either.
    other = ask(a, subject="voice", who="Ada")
    refused(a.post(path, data=with_recording(other["id"], 200.0, 5)), 400, "INVALID_FIELD", "challenge")
    asked = ask(a, removal_of=entry["id"])
    assert "no longer" in asked["phrase"]
    refused(a.post(path, data=with_recording(asked["id"], 300.0, 6)), 403, "PROOF_OTHER_PERSON", "recording")
    refused(a.post(path, data=with_recording(asked["id"], 200.0, 7)), 409, "CHALLENGE_USED", "challenge")
    refused(enrol_voice(b, 200.0), 403, "PROTECTED_PERSON", "audio_sample")
    asked = ask(a, removal_of=entry["id"])
    assert a.post(path, data=with_recording(asked["id"], 200.0, 8)).status_code == 200
    refused(a.get(f"/v1/protected/{entry['id']}"), 404, "NOT_FOUND")
    with keyed.gateway.database.session() as session:
        row = session.get_one(ProtectedPerson, entry["id"])
        assert (row.template, row.who, row.proof) == (b"", "", {})
        assert session.scalars(select(RecordingHash).where(RecordingHash.object_id == entry["id"])).first() is None
    assert enrol_voice(b, 200.0).status_code == 201


def test_a_face_is_removed_by_a_film_of_the_same_person(keyed: KeyedGateway) -> None:
    a = keyed.tenant("a")
    entry = protect_face(a, 120)
    path = f"/v1/protected/{entry['id']}/removal"
    asked = ask(a, removal_of=entry["id"])
    refused(a.post(path, data=with_film(asked, 220)), 403, "PROOF_OTHER_PERSON", "film")
    asked = ask(a, removal_of=entry["id"])
    assert a.post(path, data=with_film(asked, 120, slowness=1.2)).status_code == 200
    assert enrol_face(a, 120).status_code == 201


def test_an_administrator_removes_with_the_document(keyed: KeyedGateway) -> None:
    a = keyed.tenant("a")
    entry = created(a.post("/v1/protected", data=attested("picture", portrait(120))))
    document = a.get("/v1/media").get_json()["data"][0]["id"]
    plain = narrow(keyed, "a")
    refused(plain.delete(f"/v1/protected/{entry['id']}"), 403, "INSUFFICIENT_SCOPE")
    assert a.delete(f"/v1/protected/{entry['id']}").status_code == 200
    refused(a.get(f"/v1/media/{document}"), 404, "NOT_FOUND")
    assert enrol_face(a, 120).status_code == 201


def test_a_proof_is_judged_as_a_consents_is(keyed: KeyedGateway, hearing: Any) -> None:
    a = keyed.tenant("a")
    asked = ask(a, subject="voice", who="Ada")
    assert a.post("/v1/protected", data=with_recording(asked["id"], 200.0, 3)).status_code == 201
    refused(a.post("/v1/protected", data=with_recording(asked["id"], 200.0, 4)), 409, "CHALLENGE_USED", "challenge")
    again = ask(a, subject="voice", who="Ada")
    refused(a.post("/v1/protected", data=with_recording(again["id"], 200.0, 3)), 422, "PROOF_REPLAYED", "recording")
    face = ask(a, subject="face", who="Bob")
    refused(a.post("/v1/protected", data=with_recording(face["id"], 200.0, 9)), 404, "NOT_FOUND", "challenge")
    wrong = with_film({"id": face["id"], "turns": face["turns"][:-1]}, 120)
    refused(a.post("/v1/protected", data=wrong), 422, "PROOF_TASK_FAILED", "film")
    consent = a.post("/v1/audio/voice_consents/challenges", json={"who": "Ada"}).get_json()
    refused(a.post("/v1/protected", data=with_recording(consent["id"], 200.0, 10)), 400, "INVALID_FIELD", "challenge")


def test_other_processes_learn_of_it_within_the_time_set(stages: FakeStages, tmp_path: Path, hearing: Any) -> None:
    """Two gateways on one database, as behind a load balancer."""
    settings = GatewaySettings(data_dir=tmp_path, protected_refresh_s=0.3, calibrate=False, **stages.targets(tmp_path))
    one, two = create_app(settings), create_app(settings)
    try:
        a, b = one.test_client(), two.test_client()
        assert enrol_voice(b, 200.0, "before").status_code == 201
        entry = protect_voice(a, 200.0)
        time.sleep(0.35)
        refused(enrol_voice(b, 200.0, "after"), 403, "PROTECTED_PERSON", "audio_sample")
        assert a.delete(f"/v1/protected/{entry['id']}").status_code == 200
        time.sleep(0.35)
        assert enrol_voice(b, 200.0, "again").status_code == 201
    finally:
        one.extensions["likeness"].close()
        two.extensions["likeness"].close()


def test_a_template_that_does_not_open_refuses_everybody(keyed: KeyedGateway, hearing: Any) -> None:
    a = keyed.tenant("a")
    entry = protect_voice(a, 200.0)
    with keyed.gateway.database.session() as session:  # as with another templates.key
        row = session.get_one(ProtectedPerson, entry["id"])
        row.template = seal(bytes(32), sine(200.0, 0.016), "x")
    fresh = create_app(keyed.settings)  # another process, which reads it anew
    try:
        client = fresh.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = a.environ_base["HTTP_AUTHORIZATION"]
        refused(enrol_voice(client, 300.0), 500, "TEMPLATE_UNREADABLE")
    finally:
        fresh.extensions["likeness"].close()


@pytest.mark.parametrize("allowed", [False, True])
def test_whether_the_protected_may_clone_themselves_is_policy(
    stages: FakeStages, tmp_path: Path, hearing: Any, allowed: bool
) -> None:
    policy = '{"protected_self_use": true}' if allowed else ""
    with keyed_gateway(stages, tmp_path, consent_policy=policy) as keyed:
        a, b = keyed.tenant("a"), keyed.tenant("b")
        protect_voice(a, 200.0)

        def enrol_own(client: FlaskClient, take: int) -> Any:
            asked = client.post("/v1/audio/voice_consents/challenges", json={"who": "Ada"}).get_json()
            consent = created(client.post("/v1/audio/voice_consents", data=with_recording(asked["id"], 200.0, take)))
            clip = (io.BytesIO(encode_audio(recording(200.0, take=take + 1), "wav")), "s.wav")
            form = {"name": "me", "consent": consent["id"], "audio_sample": clip, "calibration": "fast"}
            return client.post("/v1/audio/voices", data=form)

        refused(enrol_own(b, 20), 403, "PROTECTED_PERSON", "audio_sample")  # not who registered them
        refused(enrol_voice(a, 200.0), 403, "PROTECTED_PERSON", "audio_sample")  # not with a consent of their own
        own = enrol_own(a, 30)
        if allowed:
            assert own.status_code == 201, own.text
            assert a.post("/v1/audio/speech", json={"voice": "me", "input": "Hello."}).status_code == 200
        else:
            refused(own, 403, "PROTECTED_PERSON", "audio_sample")


def test_what_was_deleted_stays_deleted_when_an_older_backup_is_restored(
    stages: FakeStages, tmp_path: Path, hearing: Any
) -> None:
    settings = GatewaySettings(data_dir=tmp_path, calibrate=False, **stages.targets(tmp_path))
    app = create_app(settings)
    client, gateway = app.test_client(), app.extensions["likeness"]
    voice = created(enrol_voice(client, 300.0))
    face = created(enrol_face(client, 230))
    kept = created(enrol_voice(client, 400.0, "kept"))
    entry = protect_voice(client, 200.0)
    archive = tmp_path / "backup.tar"
    write_backup(gateway.database, gateway.store, archive)
    own = client.get(f"/v1/audio/voices/{kept['id']}").get_json()["consent"]
    assert client.post(f"/v1/audio/voice_consents/{own}/revoke").status_code == 200
    for path in (f"/v1/audio/voices/{voice['id']}", f"/v1/faces/{face['id']}", f"/v1/protected/{entry['id']}"):
        assert client.delete(path).status_code == 200
    gateway.close()
    database, store = gateway.database, open_store(settings)
    report = restore_backup(settings, database, store, archive, force=True)
    assert report.deleted_again == 4
    app = create_app(settings)
    client = app.test_client()
    try:
        assert [item["id"] for item in client.get("/v1/audio/voices").get_json()["data"]] == [kept["id"]]
        spoken = client.post("/v1/audio/speech", json={"voice": "kept", "input": "Hello."})
        refused(spoken, 403, "CONSENT_NOT_LIVE", "voice")
        assert client.get("/v1/faces").get_json()["data"] == []
        assert client.get("/v1/protected").get_json()["data"] == []
        names = [media.key for media in store.keys("media/")]
        assert len(names) == 1  # the sample of the voice that was kept
        assert enrol_voice(client, 200.0, "free").status_code == 201
    finally:
        app.extensions["likeness"].close()
