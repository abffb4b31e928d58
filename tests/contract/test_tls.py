"""Mutual TLS: a stage serves whoever shows a certificate of its authority, and nobody in plain text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from benchmarks.scale_fleet import NAME, Names
from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc, vocoder_pb2, vocoder_pb2_grpc
from services.common import tls
from services.common.client import open_channel
from services.common.probe import is_serving, plain_target
from services.common.server import StageServer
from services.common.tls import read_tls
from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Call, Stages
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_people import enrol_ada
from tests.contract.tls_authority import CLIENT, Authority, mount
from tests.ports import free_port
from tests.waiting import wait_for

LOOPBACK = "127.0.0.1"
face_stub: Any = faceswap_pb2_grpc.FaceSwapServiceStub


class Counting(faceswap_pb2_grpc.FaceSwapServiceServicer):
    """Counts calls of `DetectFaces`."""

    def __init__(self) -> None:
        self.calls = 0

    def load(self) -> None:
        pass

    def DetectFaces(self, request: Any, context: Any) -> Any:
        self.calls += 1
        return faceswap_pb2.DetectFacesResponse(width_px=7)


class Echo(vocoder_pb2_grpc.VocoderServiceServicer):
    """Answers each message with an empty one."""

    def load(self) -> None:
        pass

    def SynthesizeWaveform(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        for _ in request_iterator:
            yield vocoder_pb2.SynthesizeWaveformResponse()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """Another authority, of the same name."""
    return Authority()


@pytest.fixture
def seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "CHECK_EVERY_S", 0.0)


Start = Callable[..., tuple[Counting, StageServer]]


@pytest.fixture
def face_stage(start_stage: Any, tmp_path: Path, authority: Authority) -> Start:
    """Starts a stage on loopback, with a certificate of the authority for NAME and its address."""

    def start(**options: Any) -> tuple[Counting, StageServer]:
        folder = options.pop("tls_dir", tmp_path / "stage")
        if not folder.exists():
            mount(folder, authority.issue(NAME, LOOPBACK))
        servicer = Counting()
        add = faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server
        descriptor = faceswap_pb2.DESCRIPTOR
        return servicer, start_stage(servicer, "FaceSwapService", add, descriptor, tls_dir=folder, **options)

    return start


def detect(channel: grpc.Channel) -> int:
    return int(face_stub(channel).DetectFaces(faceswap_pb2.DetectFacesRequest(), timeout=120).width_px)


def asked(target: str, tmp_path: Path, files: dict[str, bytes] | None) -> int:
    """Calls once, with a certificate or in plain text."""
    shown = None if files is None else read_tls(mount(tmp_path / f"client-{time.monotonic_ns()}", files))
    with open_channel(target, shown) as channel:
        return detect(channel)


def refusal(target: str, tmp_path: Path, files: dict[str, bytes] | None) -> str:
    with pytest.raises(grpc.RpcError) as refused:
        asked(target, tmp_path, files)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(refused.value.details())


# --- who is served ---


def test_replicas_behind_a_name_are_known_by_the_name(face_stage: Start, tmp_path: Path, authority: Authority) -> None:
    """The target's name is what certificates must hold, whatever address a replica has: theirs hold no address."""
    port = free_port()
    folder = mount(tmp_path / "named", authority.issue(NAME))
    replicas = [face_stage(tls_dir=folder, host=host, port=port)[0] for host in (LOOPBACK, "127.0.0.2")]
    names = Names()
    names.addresses = [LOOPBACK, "127.0.0.2"]
    client = read_tls(mount(tmp_path / "client", authority.issue("worker", usage=CLIENT)))
    with open_channel(f"dns://127.0.0.1:{names.port}/{NAME}:{port}", client) as channel:
        wait_for(lambda: detect(channel) == 7 and all(replica.calls for replica in replicas))
    names.close()
    refused = refusal(f"{LOOPBACK}:{port}", tmp_path, authority.issue("worker", usage=CLIENT))
    assert "Hostname Verification" in refused  # the address is none of the certificate's names


def test_who_shows_no_certificate_of_the_authority_is_refused(
    face_stage: Start, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    servicer, server = face_stage()
    target = f"{LOOPBACK}:{server.port}"
    assert asked(target, tmp_path, authority.issue("worker", usage=CLIENT)) == 7
    of_a_stage = authority.issue(NAME)  # stages never call each other
    of_another = {**stranger.issue("worker", usage=CLIENT), "ca.crt": authority.pem}
    for files in (None, of_another, of_a_stage):
        refusal(target, tmp_path, files)
    nothing_shown = grpc.ssl_channel_credentials(authority.pem)
    with grpc.secure_channel(target, nothing_shown) as channel, pytest.raises(grpc.RpcError) as refused:
        detect(channel)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert servicer.calls == 1


def test_who_is_not_the_stage_hears_nothing(
    face_stage: Start, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """Another name, another authority, and a caller's certificate that somebody has put before a server."""
    worker = authority.issue("worker", usage=CLIENT)
    elsewhere, another, borrowed = (
        face_stage(tls_dir=mount(tmp_path / name, files))
        for name, files in {
            "elsewhere": authority.issue("likeness-vocoder.media.svc.cluster.local", "127.0.0.9"),
            "another": {**stranger.issue(LOOPBACK), "ca.crt": authority.pem},
            "borrowed": authority.issue(LOOPBACK, usage=CLIENT),
        }.items()
    )
    for _, server in (elsewhere, another, borrowed):
        refusal(f"{LOOPBACK}:{server.port}", tmp_path, worker)
    assert [servicer.calls for servicer, _ in (elsewhere, another, borrowed)] == [0, 0, 0]


def test_a_plain_stage_is_not_called(start_stage: Any, tmp_path: Path, authority: Authority) -> None:
    """There is no way back to plain text."""
    servicer = Counting()
    add = faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server
    server = start_stage(servicer, "FaceSwapService", add, faceswap_pb2.DESCRIPTOR)
    refusal(f"{LOOPBACK}:{server.port}", tmp_path, authority.issue("worker", usage=CLIENT))
    assert servicer.calls == 0


# --- health ---


def test_health_alone_is_told_in_plain_text(face_stage: Start) -> None:
    port = free_port()
    _, server = face_stage(health_port=port, load=False)
    target = f"{LOOPBACK}:{port}"
    assert is_serving(target) and not is_serving(target, server.service)
    server.load()
    assert is_serving(target, server.service)
    assert not is_serving(f"{LOOPBACK}:{server.port}", timeout_s=1.0)
    with grpc.insecure_channel(target) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            detect(channel)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    server.drain()
    assert not is_serving(target, timeout_s=1.0)


def test_a_container_asks_where_it_can_be_answered() -> None:
    with_tls = {"LIKENESS_TLS_DIR": "/etc/likeness/tls", "LIKENESS_HEALTH_PORT": "50060"}
    assert plain_target("127.0.0.1:50051", with_tls) == "127.0.0.1:50060"
    assert plain_target("127.0.0.1:50051", {**with_tls, "LIKENESS_TLS_DIR": ""}) == "127.0.0.1:50051"


# --- renewal ---


@pytest.mark.usefixtures("seen_at_once")
def test_a_renewed_stage_serves_without_a_restart(face_stage: Start, tmp_path: Path, authority: Authority) -> None:
    """A new certificate of a new authority: from then on the new one's callers are served, the old one's are not."""
    new = Authority()
    folder = mount(tmp_path / "stage", authority.issue(LOOPBACK))
    _, server = face_stage(tls_dir=folder)
    target = f"{LOOPBACK}:{server.port}"
    assert asked(target, tmp_path, authority.issue("worker", usage=CLIENT)) == 7
    refusal(target, tmp_path, new.issue("worker", usage=CLIENT))
    mount(folder, new.issue(LOOPBACK))
    assert asked(target, tmp_path, new.issue("worker", usage=CLIENT)) == 7
    refusal(target, tmp_path, authority.issue("worker", usage=CLIENT))


def test_a_renewed_authority_with_its_old_key_is_still_trusted(
    face_stage: Start, tmp_path: Path, authority: Authority
) -> None:
    """Between the renewals of stage and caller one has the authority's old certificate, the other its new one."""
    renewed = Authority(key=authority.key)
    assert renewed.pem != authority.pem
    _, of_old = face_stage()
    _, of_new = face_stage(tls_dir=mount(tmp_path / "renewed", renewed.issue(LOOPBACK)))
    assert asked(f"{LOOPBACK}:{of_old.port}", tmp_path, renewed.issue("worker", usage=CLIENT)) == 7
    assert asked(f"{LOOPBACK}:{of_new.port}", tmp_path, authority.issue("worker", usage=CLIENT)) == 7


@pytest.mark.usefixtures("seen_at_once")
def test_a_renewed_gateway_calls_on_and_cuts_nothing(start_stage: Any, tmp_path: Path, authority: Authority) -> None:
    """A stream goes on over the connection it has; new calls show the new certificate."""
    new = Authority()
    ours, theirs = tmp_path / "gateway", tmp_path / "stage"
    mount(ours, authority.issue("gateway", usage=CLIENT))
    mount(theirs, authority.issue(LOOPBACK))
    add = vocoder_pb2_grpc.add_VocoderServiceServicer_to_server
    server = start_stage(Echo(), "VocoderService", add, vocoder_pb2.DESCRIPTOR, tls_dir=theirs)
    stages = Stages(GatewaySettings(tls_dir=ours, vocoder_target=f"{LOOPBACK}:{server.port}", data_dir=tmp_path))
    requests: SimpleQueue[Any] = SimpleQueue()
    stream = stages.vocode(iter(requests.get, None), Call("stream", time.monotonic() + 30.0))
    requests.put(vocoder_pb2.SynthesizeWaveformRequest())
    next(stream)
    before = stages.channel("vocoder")
    assert stages.channel("vocoder") is before
    mount(theirs, new.issue(LOOPBACK))
    mount(ours, new.issue("gateway", usage=CLIENT))
    assert stages.check("vocoder", 20.0) is None  # which the old certificate would not be told any more
    assert stages.channel("vocoder") is not before
    del before
    requests.put(vocoder_pb2.SynthesizeWaveformRequest())
    next(stream)
    requests.put(None)
    assert list(stream) == []
    stages.close()


# --- the gateway ---


def test_the_gateway_works_with_stages_over_tls(tmp_path: Path, authority: Authority) -> None:
    theirs = mount(tmp_path / "stage", authority.issue(LOOPBACK))
    ours = mount(tmp_path / "gateway", authority.issue("gateway", usage=CLIENT))
    stages = FakeStages(tmp_path / "data", store={"tls_dir": theirs})
    try:
        app = create_app(GatewaySettings(data_dir=tmp_path / "data", tls_dir=ours, **stages.targets()))
        client = app.test_client()
        enrol_ada(client)
        spoken = client.post("/v1/audio/speech", json={"model": "tts-1", "voice": "Ada", "input": "Hello there."})
        assert spoken.status_code == 200, spoken.text
        app.extensions["likeness"].close()
        plain = create_app(GatewaySettings(data_dir=tmp_path / "plain", **stages.targets(tmp_path / "plain")))
        ready = plain.test_client().get("/readyz")
        assert ready.status_code == 503
        assert not any(ready.get_json()["checks"][stage]["ok"] for stage in stages.servers)
        plain.extensions["likeness"].close()
    finally:
        stages.close()
