"""A stage works only for a grant that a trusted gateway has signed, for this person, this purpose, and now."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OctKey

from likeness.v1 import encoder_pb2, encoder_pb2_grpc, synthesizer_pb2, synthesizer_pb2_grpc
from services.common import grants
from services.common.client import open_channel
from services.common.errors import LikenessError
from services.common.grants import METADATA_KEY, Grant, GrantSigner, GrantVerifier, use_grant, voice_template
from services.common.keys import load_keys, load_private_key, make_keys
from services.common.profile import SpeakerProfile
from services.common.rpc_status import from_rpc
from services.common.server import StageServer
from services.common.settings import StageSettings
from services.common.wire import profile_to_wire, samples_to_s16
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from services.synthesizer.servicer import SynthesizerServicer
from tests.contract.gateway_accounts import KeyedGateway
from tests.contract.gateway_fakes import FakeStages, pitch_embedding, sine
from tests.contract.gateway_people import enrol_ada, enrol_bob

ADA, BOB = pitch_embedding(120.0), pitch_embedding(210.0)
SPEECH = Grant("speech", "local", ("voice_ada",), frozenset({voice_template(ADA)}), mark=7)
CLAIMS = {"iss": grants.ISSUER, "exp": 1 << 40, "iat": 0, "purpose": "speech", "tenant": "local", "mark": 7}
CLAIMS |= {"likenesses": [], "templates": sorted(SPEECH.templates)}


@pytest.fixture(scope="module")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder)
    return folder


@pytest.fixture(scope="module")
def signer(keys_dir: Path) -> GrantSigner:
    return GrantSigner(load_keys(keys_dir).grant)


@pytest.fixture(scope="module")
def synthesizer(keys_dir: Path) -> Iterator[Any]:
    """A real synthesizer as it comes, with nothing but the folder of its keys set."""
    settings = StageSettings(keys_dir=keys_dir, drain_wait_s=0.0, drain_grace_s=0.5, threads=1)
    server = StageServer(
        settings,
        service_name="SynthesizerService",
        servicer=SynthesizerServicer(settings),
        add_to_server=synthesizer_pb2_grpc.add_SynthesizerServiceServicer_to_server,
        descriptor=synthesizer_pb2.DESCRIPTOR,
    ).start()
    with open_channel(f"127.0.0.1:{server.port}") as channel:
        yield synthesizer_pb2_grpc.SynthesizerServiceStub(channel)  # type: ignore[no-untyped-call]
    server.drain()


def say(stub: Any, token: str | None, embedding: Any = ADA) -> int:
    """How many frames a word has; raises LikenessError as the stage told it."""
    profile = SpeakerProfile(embedding, 4.8, 0.1, np.full(80, -5.0, np.float32), np.ones(80, np.float32))
    request = synthesizer_pb2.SynthesizeMelRequest(text="hello", speaker=profile_to_wire(profile))
    metadata = () if token is None else ((METADATA_KEY, token),)
    try:
        return sum(answer.frames.frame_count for answer in stub.SynthesizeMel(request, metadata=metadata, timeout=120))
    except grpc.RpcError as error:
        raise from_rpc(error) from error


def refusal(stub: Any, token: str | None, embedding: Any = ADA) -> tuple[str, grpc.StatusCode]:
    with pytest.raises(LikenessError) as caught:
        say(stub, token, embedding)
    return caught.value.reason, caught.value.row.code


def test_a_grant_for_the_person_lets_the_stage_speak(synthesizer: Any, signer: GrantSigner) -> None:
    assert say(synthesizer, signer.sign(SPEECH)) > 10


def test_without_a_grant_nothing_is_said(synthesizer: Any) -> None:
    assert refusal(synthesizer, None) == ("GRANT_REQUIRED", grpc.StatusCode.UNAUTHENTICATED)


def test_a_borrowed_grant_is_for_its_own_person_alone(synthesizer: Any, signer: GrantSigner) -> None:
    told = refusal(synthesizer, signer.sign(SPEECH), BOB)
    assert told == ("GRANT_MISMATCH", grpc.StatusCode.PERMISSION_DENIED)


def test_a_grant_for_something_else_is_refused(synthesizer: Any, signer: GrantSigner) -> None:
    swap = Grant("swap", "local", ("face_ada",), SPEECH.templates, mark=7)
    assert refusal(synthesizer, signer.sign(swap))[0] == "GRANT_MISMATCH"


def test_a_grant_to_make_something_names_its_mark(synthesizer: Any, signer: GrantSigner) -> None:
    assert refusal(synthesizer, signer.sign(replace(SPEECH, mark=0)))[0] == "GRANT_INVALID"
    assert refusal(synthesizer, signer.sign(replace(SPEECH, mark=1 << 32)))[0] == "GRANT_INVALID"


def test_a_grant_to_measure_makes_nothing(synthesizer: Any, signer: GrantSigner) -> None:
    assert refusal(synthesizer, signer.sign(Grant("enroll", "local", (), SPEECH.templates)))[0] == "GRANT_MISMATCH"


def test_a_grant_is_for_its_language_in_whatever_region(synthesizer: Any, signer: GrantSigner) -> None:
    assert say(synthesizer, signer.sign(replace(SPEECH, language="en-GB"))) > 10
    assert refusal(synthesizer, signer.sign(replace(SPEECH, language="de")))[0] == "GRANT_MISMATCH"


def test_an_old_grant_is_refused(synthesizer: Any, signer: GrantSigner) -> None:
    told = refusal(synthesizer, signer.sign(SPEECH, valid_s=-grants.LEEWAY_S - 1))
    assert told == ("GRANT_INVALID", grpc.StatusCode.UNAUTHENTICATED)


def test_forged_grants_are_refused(synthesizer: Any, signer: GrantSigner) -> None:
    good = signer.sign(SPEECH)
    head, body, signature = good.split(".")
    swap_body = signer.sign(Grant("speech", "local", (), frozenset({voice_template(BOB)}), mark=7)).split(".")[1]
    hmac = jwt.encode({"alg": "HS256"}, CLAIMS, OctKey.import_key("0" * 64), algorithms=["HS256"])
    stranger = GrantSigner(Ed25519PrivateKey.generate()).sign(SPEECH)
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    for token in (f"{head}.{swap_body}.{signature}", hmac, stranger, unsigned, f"{head}.{body}.", "x", "a.b.c"):
        assert refusal(synthesizer, token) == ("GRANT_INVALID", grpc.StatusCode.UNAUTHENTICATED), token[:40]


def test_a_receipt_is_no_grant(synthesizer: Any, keys_dir: Path) -> None:
    """Whatever else the installation signs, with whatever of its keys, opens no stage."""
    keys = load_keys(keys_dir)
    signer = GrantSigner(keys.grant)
    other_type = jwt.encode({**signer._header, "typ": "receipt+jwt"}, CLAIMS, signer._key, algorithms=["Ed25519"])
    assert refusal(synthesizer, other_type)[0] == "GRANT_INVALID"
    assert refusal(synthesizer, GrantSigner(keys.receipts).sign(SPEECH))[0] == "GRANT_INVALID"


def test_health_needs_no_grant_and_refusals_are_counted(synthesizer: Any, tmp_path: Path) -> None:
    stages = FakeStages(tmp_path)
    try:
        channel = open_channel(f"127.0.0.1:{stages.servers['encoder'].port}")
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60.0).status
        assert status == health_pb2.HealthCheckResponse.SERVING
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)  # type: ignore[no-untyped-call]
        piece = encoder_pb2.EmbedSpeechRequest(samples_s16=samples_to_s16(sine(120.0, 2.0)))
        with pytest.raises(grpc.RpcError) as caught:
            stub.EmbedSpeech(iter([piece]), timeout=60.0)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        channel.close()
    finally:
        stages.close()


def test_keys_rotate_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "RELOAD_EVERY_S", 0.0)
    make_keys(tmp_path)
    verifier, old = GrantVerifier(tmp_path / "grants"), GrantSigner(load_private_key(tmp_path / "grant.pem"))
    (tmp_path / "grant.pem").unlink()
    new_names = make_keys(tmp_path)
    assert new_names == ["grant.pem", "grants/2.pem"]
    new = GrantSigner(load_private_key(tmp_path / "grant.pem"))
    assert verifier.verify(old.sign(SPEECH), "SynthesizeMel") == verifier.verify(new.sign(SPEECH), "SynthesizeMel")
    (tmp_path / "grants" / "1.pem").unlink()
    with pytest.raises(LikenessError) as caught:
        verifier.verify(old.sign(SPEECH), "SynthesizeMel")
    assert caught.value.reason == "GRANT_INVALID"
    assert verifier.verify(new.sign(SPEECH), "SynthesizeMel") == SPEECH
    shutil.rmtree(tmp_path / "grants")  # a mount that is being replaced: the keys that were read stay
    assert verifier.verify(new.sign(SPEECH), "SynthesizeMel") == SPEECH


def test_work_that_nobody_checked_is_refused(keys_dir: Path) -> None:
    """In a thread of its own there is no grant: that must not pass for permission."""
    import threading

    failures: list[BaseException] = []

    def ask() -> None:
        try:
            grants.require_template(voice_template(ADA), field="speaker")
        except LookupError as error:
            failures.append(error)

    with use_grant(SPEECH):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(failures) == 1


def test_a_gateway_that_is_not_trusted_is_told_so(tmp_path: Path) -> None:
    stages = FakeStages(tmp_path / "stages")
    try:
        targets = stages.targets() | {"keys_dir": None}
        client = create_app(GatewaySettings(data_dir=tmp_path / "other", **targets)).test_client()
        consent = {"who": "nobody", "kind": "synthetic", "evidence": "made by this test"}
        consent_id = client.post("/v1/audio/voice_consents", json=consent).get_json()["id"]
        import io

        from services.common.encode_audio import encode_audio

        clip = io.BytesIO(encode_audio(sine(120.0, 4.0), "wav"))
        form = {"name": "Ada", "consent": consent_id, "audio_sample": (clip, "a.wav")}
        told = client.post("/v1/audio/voices", data=form)
        assert told.status_code == 500 and told.get_json()["reason"] == "GRANT_REFUSED", told.text
        assert "public key" in told.get_json()["detail"]
    finally:
        stages.close()


def test_the_api_grants_calls_of_the_tenants_own_people(tmp_path: Path) -> None:
    keyed = KeyedGateway(tmp_path, **(stages := FakeStages(tmp_path)).targets())
    try:
        client = keyed.client(keyed.new_key(scopes=["voices", "faces", "speech", "swaps"])["key"])
        voice, face = enrol_ada(client), enrol_bob(client)
        spoken = client.post("/v1/grants", json={"voice": "Ada"}).get_json()
        grant = GrantVerifier(tmp_path / "keys" / "grants").verify(spoken["grant"], "SynthesizeWaveform")
        assert grant.likenesses == (voice["id"],) and grant.mark == spoken["mark"] > 0
        assert grant.templates == {voice_template(spoken["profile"]["embedding"])} and grant.language == "en"
        swap = client.post("/v1/grants", json={"face": "Bob", "valid_seconds": 5}).get_json()
        grant = GrantVerifier(tmp_path / "keys" / "grants").verify(swap["grant"], "SwapPicture")
        assert grant.templates == {source["sha256"] for source in swap["sources"]} and grant.mark != spoken["mark"]
        assert swap["expires_at"] - swap["created_at"] == 5
        enrol = client.post("/v1/grants", json={"voice_consent": voice["consent"]}).get_json()
        with pytest.raises(LikenessError):
            GrantVerifier(tmp_path / "keys" / "grants").verify(enrol["grant"], "SynthesizeWaveform")
        client.post(f"/v1/face_consents/{face['consent']}/revoke")
        assert client.post("/v1/grants", json={"face": "Bob"}).get_json()["reason"] == "CONSENT_NOT_LIVE"
        reader = keyed.client(keyed.new_key(scopes=["voices"])["key"])
        told = reader.post("/v1/grants", json={"voice": "Ada"})
        assert (told.status_code, told.get_json()["reason"]) == (403, "INSUFFICIENT_SCOPE")
        assert client.post("/v1/grants", json={"voice": "Ada", "face": "Bob"}).status_code == 400
    finally:
        stages.close()
