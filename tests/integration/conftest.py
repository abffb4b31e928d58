"""The real stack, started once for all integration tests: four stages and the gateway as processes, real models.

Tests that break servers or need other settings start servers of their own (`own_server`, `own_gateway`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import likeness
from likeness._stack import GATEWAY, GRPC_SERVICES, LOOPBACK, ServerSpec, Stack, StackEvent, local_servers, ports
from likeness._stack.process import ServerProcess
from likeness.v1 import encoder_pb2_grpc, faceswap_pb2_grpc, synthesizer_pb2_grpc, vocoder_pb2_grpc
from services.common.settings import REPOSITORY_ROOT
from tests.integration.granting import granting_channel
from tests.ports import free_port, free_ports
from tests.waiting import eventually

# The generated stubs' constructors are not typed.
EncoderServiceStub: Any = encoder_pb2_grpc.EncoderServiceStub
SynthesizerServiceStub: Any = synthesizer_pb2_grpc.SynthesizerServiceStub
VocoderServiceStub: Any = vocoder_pb2_grpc.VocoderServiceStub
FaceSwapServiceStub: Any = faceswap_pb2_grpc.FaceSwapServiceStub

PERSONA = REPOSITORY_ROOT / "examples" / "persona" / "persona.flac"
START_TIMEOUT_S = 600.0


class RunningStack:
    """The session's stack and what happened to it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.events: list[StackEvent] = []
        http_port = free_port()
        self.url = f"http://{LOOPBACK}:{http_port}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ports, "free_ports", free_ports)
            servers = local_servers(data_dir, http_port=http_port, prefer_default_ports=False)
        self.stack = Stack(servers, data_dir / "logs", on_event=self.events.append)

    def spec(self, name: str) -> ServerSpec:
        return self.stack.specs[name]

    def metric(self, server: str, name: str, /, **labels: str) -> float:
        return metric(self.spec(server).metrics_port, name, **labels)


def metric(port: int, name: str, /, **labels: str) -> float:
    """Sum of a metric's samples that carry these labels, read from a server's own metrics page."""
    page = httpx.get(f"http://{LOOPBACK}:{port}/metrics", timeout=60).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    started = RunningStack(tmp_path_factory.mktemp("stack"))
    started.stack.start(START_TIMEOUT_S)
    try:
        yield started
    finally:
        started.stack.stop()


@pytest.fixture(scope="session")
def client(running: RunningStack) -> Iterator[likeness.Client]:
    with likeness.Client(running.url, timeout=120) as opened:
        yield opened


@pytest.fixture(scope="session")
def voice(client: likeness.Client) -> likeness.Voice:
    """The persona, enrolled."""
    consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="examples/persona")
    return client.voices.enrol("juniper", PERSONA, consent=consent.id)


@pytest.fixture(scope="session")
def face_consent(client: likeness.Client) -> likeness.Consent:
    return client.face_consents.create(
        who="a public test picture", kind="attested", attested_by="the tests", evidence="distributed with scikit-image"
    )


@pytest.fixture
def channel_to(running: RunningStack) -> Iterator[Callable[[str], grpc.Channel]]:
    """Opens channels to stages of the session's stack, whose calls are granted."""
    opened: list[grpc.Channel] = []

    def open_channel(stage: str) -> grpc.Channel:
        opened.append(granting_channel(running.spec(stage).address, running.data_dir / "keys"))
        return opened[-1]

    yield open_channel
    for channel in opened:
        channel.close()


OwnServer = Callable[..., ServerProcess]


@pytest.fixture
def own_server(tmp_path: Path, running: RunningStack) -> Iterator[OwnServer]:
    """Starts a server apart from the stack, with its keys but settings of its own, and waits until it is ready."""
    started: list[ServerProcess] = []

    def start(name: str, **settings: Any) -> ServerProcess:
        port, metrics_port = free_ports(2)
        is_gateway = name == GATEWAY
        environment = {
            "LIKENESS_DATA_DIR": str(tmp_path),
            "LIKENESS_KEYS_DIR": str(running.data_dir / "keys"),
            "LIKENESS_HOST": LOOPBACK,
            "LIKENESS_HTTP_PORT" if is_gateway else "LIKENESS_PORT": str(port),
            "LIKENESS_METRICS_PORT": str(metrics_port),
        } | {f"LIKENESS_{key.upper()}": str(value) for key, value in settings.items()}
        service = "" if is_gateway else GRPC_SERVICES[name]
        spec = ServerSpec(name, f"services.{name}", LOOPBACK, port, metrics_port, service, environment)
        process = ServerProcess(spec, tmp_path / f"{name}-{port}.log")
        started.append(process)
        ready = eventually(lambda: process.exit_code is not None or process.is_ready(), START_TIMEOUT_S)
        assert ready and process.exit_code is None, process.log_tail()
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)
        process.kill()


@pytest.fixture
def own_gateway(own_server: OwnServer, running: RunningStack) -> Callable[[Mapping[str, ServerProcess]], str]:
    """Starts a gateway that uses the given servers and otherwise the stages of the session's stack; returns its URL."""

    def start(servers: Mapping[str, ServerProcess]) -> str:
        targets = {
            f"{name}_target": (servers[name].spec if name in servers else running.spec(name)).address
            for name in GRPC_SERVICES
        }
        return f"http://{own_server(GATEWAY, calibrate=False, **targets).spec.address}"

    return start
