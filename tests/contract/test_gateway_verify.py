"""Was it made here? Asked by those who made it, and by others; of files that were changed, forged or damaged."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select

from services.common.audio import FloatArray
from services.common.c2pa_certificate import make_development_certificate
from services.common.decode_picture import encode_picture
from services.common.encode_audio import CONTENT_TYPES, AudioFormat, encode_audio
from services.common.errors import LikenessError
from services.common.marking.audio import AudioMarker
from services.common.marking.picture import mark_picture
from services.gateway.db import AuditEntry, Mark, Media
from services.gateway.media import publish
from services.gateway.provenance import ManifestSigner, OutputClaim, load_signing_key
from services.gateway.provenance.examiner import Examiner
from services.gateway.provenance.reading import TrustedCertificates
from services.gateway.provenance.release import sign_output, store_sidecar
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_people import new_consent
from tests.contract.gateway_process import REPOSITORY, GatewayProcess
from tests.waiting import PROMPT_S

SPEECH_SECONDS = 4


def speech(seed: int = 0) -> FloatArray:
    """Noise in syllables: enough like speech to carry a mark."""
    chance = np.random.default_rng(seed)
    samples = chance.standard_normal(16_000 * SPEECH_SECONDS)
    loudness = 0.12 * (1.1 + np.sin(np.arange(samples.size) * (2 * np.pi * 3 / 16_000)))
    return np.asarray(np.convolve(samples * loudness, np.ones(3) / 3, "same"), np.float32)


def picture() -> Any:
    chance = np.random.default_rng(3)
    return cv2.GaussianBlur(chance.integers(0, 255, (360, 480, 3), np.uint8), (0, 0), 2.0)


@dataclass(frozen=True)
class Output:
    """What was released, with its record."""

    content: bytes
    content_type: str
    job: str
    media: str
    number: int
    consent: str


class World:
    """Two tenants; outputs of A, as they are released."""

    def __init__(self, folder: Path) -> None:
        self.keyed = KeyedGateway(folder)
        self.a, self.b = self.keyed.tenant("tenant-a"), self.keyed.tenant("tenant-b")
        self.consent = new_consent(self.a)
        self.count = 0

    @property
    def key(self) -> bytes:
        found: bytes = self.keyed.gateway.keys.mark
        return found

    def release(self, marked: bytes, content_type: str, number: int, kind: Any = "speech") -> Output:
        self.count += 1
        job = f"job_{self.count:04d}"
        claim = OutputClaim(kind, job, self.consent, number)
        made = sign_output(self.keyed.gateway, marked, content_type, claim=claim)
        assert isinstance(made.content, bytes)
        purpose: Any = "speech" if kind == "speech" else "swap"
        media = publish(
            self.keyed.gateway,
            made.content,
            tenant="tenant-a",
            content_type=content_type,
            purpose=purpose,
            job_id=job,
        )
        if made.sidecar is not None:
            store_sidecar(self.keyed.gateway, "tenant-a", job, made.sidecar, content_type)
        with self.keyed.gateway.database.session() as session:
            session.add(
                Mark(
                    number=number,
                    tenant="tenant-a",
                    job_id=job,
                    consent_id=self.consent,
                    kind=kind,
                    media_id=media.id,
                    sha256=hashlib.sha256(made.content).hexdigest(),
                )
            )
        return Output(made.content, content_type, job, media.id, number, self.consent)

    def spoken(self, format: AudioFormat, number: int) -> Output:
        marker = AudioMarker(self.key, number)
        marked = np.concatenate([marker.write(speech(number)), marker.finish()])
        return self.release(encode_audio(marked, format), CONTENT_TYPES[format], number)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder))
        yield made
        made.keyed.close()


@pytest.fixture(scope="module")
def wav(world: World) -> Output:
    return world.spoken("wav", 0x1001)


def verify(client: FlaskClient, content: bytes, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/verify", data={"file": (io.BytesIO(content), "file"), **fields})
    assert answer.status_code == 200, answer.get_json()
    found: dict[str, Any] = answer.get_json()
    return found


def test_its_tenant_learns_by_which_job_and_with_which_consent(world: World, wav: Output) -> None:
    found = verify(world.a, wav.content)
    (origin,) = found["origins"]
    assert found["made_here"] and "unchanged since, byte for byte" in found["summary"]
    assert (origin["job"], origin["media"], origin["number"]) == (wav.job, wav.media, wav.number)
    assert origin["consent"] == {"id": wav.consent, "kind": "synthetic", "state": "live"}
    assert (origin["evidence"], origin["unchanged"]) == (["file", "manifest", "mark"], True)
    assert found["manifest"]["state"] == "valid" and found["manifest"]["signer"] == "own"
    assert found["manifest"]["development"] and "development" in found["summary"]
    assert found["marks"][0]["place"] == "sound" and found["marks"][0]["confidence"] > 0.9999


def test_others_learn_that_it_was_made_here_and_when_and_nothing_else(world: World, wav: Output) -> None:
    found = verify(world.b, wav.content)
    (origin,) = found["origins"]
    assert found["made_here"] and origin["made_at"] and origin["unchanged"]
    assert [origin[name] for name in ("number", "job", "media", "consent")] == [None] * 4
    told = json.dumps(found)
    for secret in (wav.job, wav.media, wav.consent, str(wav.number), "tenant-a"):
        assert secret not in told
    assert verify(world.keyed.operator, wav.content)["origins"][0]["job"] == wav.job, "operators look after all"


@pytest.mark.parametrize("format", ["mp3", "flac", "opus", "aac", "pcm"])
def test_every_format_of_speech_is_known_again(world: World, format: AudioFormat) -> None:
    made = world.spoken(format, 0x2000 + list(CONTENT_TYPES).index(format))
    found = verify(world.a, made.content, **({"format": "pcm"} if format == "pcm" else {}))
    assert found["content_type"] == CONTENT_TYPES[format]
    assert found["origins"][0]["evidence"] == ["file", "manifest", "mark"]
    assert found["manifest"]["place"] == ("beside" if format in ("opus", "aac", "pcm") else "inside")


def test_a_changed_byte_is_told_wherever_it_is(world: World, wav: Output) -> None:
    """Also in the padding of the manifest, which its own hashes leave out."""
    content = bytearray(wav.content)
    padding = content.rfind(bytes(100))
    for place, state in ((20_000, "broken"), (padding + 50, "valid")):
        changed = bytes(content[:place]) + bytes([content[place] ^ 1]) + bytes(content[place + 1 :])
        found = verify(world.a, changed)
        (origin,) = found["origins"]
        assert (found["manifest"]["state"], origin["unchanged"]) == (state, False), place
        assert "changed since" in found["summary"] or "differ" in found["summary"]


def test_coded_anew_it_is_known_by_its_mark_alone(world: World, wav: Output) -> None:
    marker = AudioMarker(world.key, wav.number)
    marked = np.concatenate([marker.write(speech(wav.number)), marker.finish()])
    found = verify(world.b, encode_audio(marked, "mp3"))
    (origin,) = found["origins"]
    assert (origin["evidence"], origin["unchanged"], found["manifest"]["state"]) == (["mark"], False, "absent")
    assert "changed since" in found["summary"]


def test_pictures_are_known_by_their_manifest_and_their_mark(world: World) -> None:
    marked = mark_picture(picture(), world.key, 0x3001)
    made = world.release(encode_picture(marked[:, :, ::-1], "png"), "image/png", 0x3001, "picture")
    found = verify(world.a, made.content)
    assert found["origins"][0]["evidence"] == ["file", "manifest", "mark"]
    again = verify(world.a, encode_picture(marked[:, :, ::-1], "jpeg", 80))
    assert again["origins"][0]["evidence"] == ["mark"] and again["manifest"]["state"] == "absent"


def test_what_is_not_from_here_is_not_found_and_that_proves_nothing(world: World) -> None:
    found = verify(world.a, encode_audio(speech(99), "flac"))
    assert (found["made_here"], found["origins"], found["marks"]) == (False, [], [])
    assert found["manifest"]["state"] == "absent" and "proves nothing" in found["summary"]


def test_a_manifest_of_somebody_else_is_no_proof_whatever_it_says(world: World, wav: Output) -> None:
    forger = ManifestSigner(load_signing_key(make_development_certificate()))
    claim = OutputClaim("speech", wav.job, wav.consent, wav.number)
    forged = forger.sign(encode_audio(speech(98), "wav"), "audio/wav", claim).content
    assert isinstance(forged, bytes)
    found = verify(world.a, forged)
    assert (found["made_here"], found["origins"]) == (False, [])
    assert (found["manifest"]["state"], found["manifest"]["signer"]) == ("valid", "unknown")
    assert "nobody here vouches" in found["summary"]


def test_a_manifest_of_ours_moved_to_another_file_is_broken(world: World) -> None:
    made = world.spoken("opus", 0x4001)
    sidecar = world.a.get(f"/v1/media/{made.media}/manifest").data
    assert verify(world.a, made.content, manifest=(io.BytesIO(sidecar), "m.c2pa"))["manifest"]["state"] == "valid"
    found = verify(world.a, encode_audio(speech(97), "opus"), manifest=(io.BytesIO(sidecar), "m.c2pa"))
    assert (found["made_here"], found["manifest"]["state"]) == (False, "broken")


def test_media_are_verified_by_their_id_within_the_tenant(world: World, wav: Output) -> None:
    assert world.a.post("/v1/verify", data={"media": wav.media}).get_json()["origins"][0]["job"] == wav.job
    refused = world.b.post("/v1/verify", data={"media": wav.media})
    assert (refused.status_code, refused.get_json()["field"]) == (404, "media")


def test_the_record_of_an_output_outlives_it(world: World) -> None:
    made = world.spoken("wav", 0x5001)
    assert world.a.delete(f"/v1/media/{made.media}").status_code == 200
    assert world.a.post(f"/v1/audio/voice_consents/{made.consent}/revoke").status_code == 200
    try:
        assert verify(world.a, made.content)["origins"][0]["consent"]["state"] == "revoked"
    finally:
        world.consent = new_consent(world.a)
    with world.keyed.gateway.database.session() as session:
        session.execute(delete(Mark).where(Mark.number == made.number))
    found = verify(world.a, made.content)
    assert found["made_here"] and found["origins"] == [] and "no record" in found["summary"]


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({}, "INVALID_FIELD", "file"),
        ({"file": b""}, "MEDIA_EMPTY", "file"),
        ({"file": b"this is no media"}, "MEDIA_UNSUPPORTED", "file"),
        ({"file": b'{"a": 1}'}, "MEDIA_UNSUPPORTED", "file"),
        ({"file": b"x", "media": "media_1"}, "INVALID_FIELD", "file"),
        ({"media": "media_1"}, "NOT_FOUND", "media"),
        ({"file": b"RIFF", "manifest": b""}, "MEDIA_EMPTY", "manifest"),
        ({"file": b"RIFF", "format": "mp3"}, "INVALID_FIELD", "format"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(world: World, fields: dict[str, Any], reason: str, field: str) -> None:
    form = {name: (io.BytesIO(value), name) if isinstance(value, bytes) else value for name, value in fields.items()}
    refused = world.a.post("/v1/verify", data=form, content_type="multipart/form-data").get_json()
    assert (refused["reason"], refused["field"]) == (reason, field)


def test_damaged_media_are_examined_as_far_as_they_go(world: World, wav: Output) -> None:
    found = verify(world.a, wav.content[:30_000])
    assert "cut off" in found["unsearched"] and "could not be looked for" in found["summary"]
    assert found["origins"] == [] and not found["made_here"]
    for content in (
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"OggS" + bytes(500),
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(99),
    ):
        assert verify(world.a, content)["unsearched"]


def test_strangers_may_ask_where_the_operator_lets_them(world: World, wav: Output, tmp_path: Path) -> None:
    def ask(keyed: KeyedGateway, **options: Any) -> Any:
        return keyed.anonymous.post("/v1/verify", data={"file": (io.BytesIO(b"x"), "file")}, **options)

    assert ask(world.keyed).status_code == 401
    keyed = KeyedGateway(tmp_path, public_verifications_per_minute=4)
    try:
        found = verify(keyed.anonymous, encode_audio(speech(94), "wav"))
        assert not found["made_here"]
        refused = keyed.anonymous.post("/v1/verify", data={"media": "media_1"})
        assert refused.status_code == 404, "nothing belongs to strangers"
        assert ask(keyed, headers={"Authorization": "Bearer lk_wrong_key"}).status_code == 401
        assert keyed.anonymous.get("/v1/media").status_code == 401
        codes = [ask(keyed).status_code for _ in range(9)]  # more than two minutes of the clock allow
        assert codes[0] == 415 and 429 in codes, "limited by address"
        with keyed.gateway.database.session() as session:
            actors = set(session.scalars(select(AuditEntry.actor).where(AuditEntry.action == "verify_file")))
        assert actors == {"stranger"}, "the audit keeps no addresses"
    finally:
        keyed.close()


def test_verifications_are_in_the_audit(world: World, wav: Output) -> None:
    verify(world.a, wav.content)
    newest = world.a.get("/v1/audit?limit=1").get_json()["data"][0]
    assert newest["action"] == "verify_file"
    told = newest["details"]["verification"]
    assert told == {"made_here": True, "sha256": hashlib.sha256(wav.content).hexdigest(), "jobs": [wav.job]}


SLEEPER = "import sys, time\nfor line in sys.stdin:\n    time.sleep(60)\n"
CRASHER = "import os, sys\nfor line in sys.stdin:\n    os.abort()\n"


@pytest.mark.parametrize("program", [SLEEPER, CRASHER])
def test_a_file_that_crashes_or_hangs_the_reader_hurts_nothing_else(tmp_path: Path, program: str) -> None:
    (tmp_path / "file").write_bytes(b"hostile")
    examiner = Examiner(timeout_s=1.0, command=(sys.executable, "-c", program))
    try:
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(LikenessError) as caught:
                examiner.examine(tmp_path / "file", "audio/wav", TrustedCertificates(""), bytes(32))
            assert caught.value.reason == "MEDIA_UNREADABLE" and time.monotonic() - begun < 1.0 + PROMPT_S
    finally:
        examiner.close()


def test_the_command_tells_it_in_words_and_by_its_exit_code(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    try:
        (tmp_path / "foreign.wav").write_bytes(encode_audio(speech(96), "wav"))
        done = subprocess.run(
            [sys.executable, "-m", "likeness", "verify", "foreign.wav", "--url", gateway.url],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 3 and "proves nothing" in done.stdout, done.stderr
    finally:
        gateway.close()


def test_nothing_of_a_verification_is_kept(world: World) -> None:
    with world.keyed.gateway.database.session() as session:
        before = session.query(Media).count()
    verify(world.b, encode_audio(speech(95), "wav"))
    with world.keyed.gateway.database.session() as session:
        assert session.query(Media).count() == before
    spool = world.keyed.settings.spool_dir
    assert not spool.exists() or not list(spool.iterdir())
