"""The synthesizer over gRPC: the stream it promises and the errors it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from likeness.v1 import synthesizer_pb2, synthesizer_pb2_grpc
from services.common.audio import FRAMES_PER_SECOND
from services.common.client import open_channel
from services.common.models import Registry
from services.common.server import StageServer
from services.common.settings import REPOSITORY_ROOT
from services.common.wire import frames_from_wire, profile_to_wire
from services.synthesizer import Network, SpeechOptions, Synthesizer
from services.synthesizer.servicer import SynthesizerServicer
from services.synthesizer.settings import SynthesizerSettings

Request = Callable[..., synthesizer_pb2.SynthesizeMelRequest]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(Registry(REPOSITORY_ROOT / "models"))


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    settings = SynthesizerSettings(port=0, metrics_port=0, drain_wait_s=0.0, grants="off")
    server = StageServer(
        settings,
        service_name="SynthesizerService",
        servicer=SynthesizerServicer(settings),
        add_to_server=synthesizer_pb2_grpc.add_SynthesizerServiceServicer_to_server,
        descriptor=synthesizer_pb2.DESCRIPTOR,
    ).start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    make_stub: Any = synthesizer_pb2_grpc.SynthesizerServiceStub
    yield make_stub(channel)
    channel.close()
    server.drain()


@pytest.fixture
def request_for(network: Network) -> Request:
    def make(text: str, **fields: Any) -> synthesizer_pb2.SynthesizeMelRequest:
        speaker = fields.pop("speaker", profile_to_wire(network.styles["slt"]))
        return synthesizer_pb2.SynthesizeMelRequest(text=text, speaker=speaker, **fields)

    return make


def test_the_stream_is_what_the_engine_makes(stub: Any, request_for: Request, network: Network) -> None:
    text = "Two sentences are spoken. This is the second."
    responses = list(stub.SynthesizeMel(request_for(text, seed=3, speed=1.2, pitch_shift_semitones=2), timeout=60))
    frames = np.concatenate([frames_from_wire(response.frames) for response in responses])
    options = SpeechOptions(speed=float(np.float32(1.2)), pitch_shift_semitones=2, seed=3)
    chunks = list(Synthesizer(network).synthesize(text, network.styles["slt"], options))
    np.testing.assert_allclose(frames, np.concatenate([chunk.frames for chunk in chunks]), atol=1e-4)
    assert [r.sentence_index for r in responses if r.sentence_end] == [0, 1]
    assert {r.sentence_count for r in responses} == {2}
    words = [word for response in responses for word in response.words]
    assert [word.word for word in words] == ["Two", "sentences", "are", "spoken", "This", "is", "the", "second"]
    assert words[-1].end_seconds <= len(frames) / FRAMES_PER_SECOND


def test_left_out_fields_mean_their_defaults(stub: Any, request_for: Request) -> None:
    plain, spelled_out = (
        b"".join(response.frames.values for response in stub.SynthesizeMel(request, timeout=60))
        for request in (request_for("A short one."), request_for("A short one.", speed=1.0, language="en", seed=0))
    )
    assert plain == spelled_out


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"text": ""}, "TEXT_UNPRONOUNCEABLE", "text"),
        ({"text": "🙂 !!"}, "TEXT_UNPRONOUNCEABLE", "text"),
        ({"text": "a" * 4097}, "INVALID_FIELD", "text"),
        ({"text": "hallo", "language": "de-DE"}, "LANGUAGE_UNSUPPORTED", "language"),
        ({"text": "hello", "speed": 9.0}, "INVALID_FIELD", "speed"),
        ({"text": "hello", "speed": -1.0}, "INVALID_FIELD", "speed"),
        ({"text": "hello", "speed": float("nan")}, "INVALID_FIELD", "speed"),
        ({"text": "hello", "pitch_shift_semitones": 40.0}, "INVALID_FIELD", "pitch_shift_semitones"),
        ({"text": "hello", "speaker": None}, "INVALID_FIELD", "speaker.embedding"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_request_is_told_what_is_wrong(
    stub: Any, request_for: Request, fields: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.SynthesizeMel(request_for(**fields), timeout=60))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.reason == reason
    assert info.metadata["field"] == field


def test_a_caller_who_leaves_stops_the_work(stub: Any, request_for: Request) -> None:
    call = stub.SynthesizeMel(request_for("One more sentence. " * 200), timeout=60)
    assert next(iter(call)).frames.frame_count > 0
    call.cancel()
    assert list(stub.SynthesizeMel(request_for("Still here."), timeout=60))
