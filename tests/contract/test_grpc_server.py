"""What every stage promises over gRPC, shown on small servicers of the real protos."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from likeness.v1 import (
    faceswap_pb2,
    faceswap_pb2_grpc,
    vocoder_pb2,
    vocoder_pb2_grpc,
)
from services.common.client import call_metadata, open_channel, raise_from_rpc
from services.common.deadlines import Deadline, current_deadline, use_deadline
from services.common.errors import LikenessError
from services.common.server import StageServer
from tests.waiting import PATIENCE_S, PROMPT_S, wait_for

Detect = faceswap_pb2.DetectFacesRequest
face_stub: Any = faceswap_pb2_grpc.FaceSwapServiceStub
vocoder_stub: Any = vocoder_pb2_grpc.VocoderServiceStub


class FaceServicer(faceswap_pb2_grpc.FaceSwapServiceServicer):
    """`DetectFaces` does what a test puts into `behave`."""

    def __init__(self, behave: Callable[[Any], None] = lambda context: None) -> None:
        self.behave = behave
        self.calls = 0
        self.closed = False

    def load(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def DetectFaces(self, request: Any, context: Any) -> Any:
        self.calls += 1
        self.behave(context)
        return faceswap_pb2.DetectFacesResponse(width_px=7)


class VocoderServicer(vocoder_pb2_grpc.VocoderServiceServicer):
    """Answers every message with an empty one, until a message asks for engine "fail"."""

    def __init__(self) -> None:
        self.finished = threading.Event()

    def load(self) -> None:
        pass

    def SynthesizeWaveform(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        try:
            for request in request_iterator:
                if request.options.engine == "fail":
                    raise LikenessError("INVALID_FIELD", "No such engine.", field="options.engine")
                yield vocoder_pb2.SynthesizeWaveformResponse(engine=request.options.engine)
        finally:
            self.finished.set()


@pytest.fixture
def face_stage(start_stage: Any, connect: Any) -> Callable[..., tuple[Any, Any, StageServer]]:
    def start(behave: Callable[[Any], None] = lambda context: None, **options: Any) -> tuple[Any, Any, StageServer]:
        servicer = FaceServicer(behave)
        add = faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server
        server = start_stage(servicer, "FaceSwapService", add, faceswap_pb2.DESCRIPTOR, **options)
        return face_stub(connect(server)), servicer, server

    return start


@pytest.fixture
def vocoder_stage(start_stage: Any, connect: Any) -> tuple[Any, VocoderServicer, StageServer]:
    servicer = VocoderServicer()
    add = vocoder_pb2_grpc.add_VocoderServiceServicer_to_server
    server = start_stage(servicer, "likeness.v1.VocoderService", add, vocoder_pb2.DESCRIPTOR)
    return vocoder_stub(connect(server)), servicer, server


def details_of(error: Any) -> dict[str, Any]:
    """The details of a google.rpc.Status by the name of their type."""
    found = {}
    for detail in rpc_status.from_call(error).details:
        message = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])()
        detail.Unpack(message)
        found[type(message).__name__] = message
    return found


def health(server: StageServer, service: str) -> str:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        reply = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S
        )
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def metrics_of(server: StageServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=PATIENCE_S) as reply:
        return str(reply.read().decode())


def test_alive_before_loaded_and_ready_after(face_stage: Any) -> None:
    stub, servicer, server = face_stage(load=False)
    assert health(server, "") == "SERVING"
    assert health(server, "likeness.v1.FaceSwapService") == "NOT_SERVING"
    with pytest.raises(grpc.RpcError) as refused:
        stub.DetectFaces(Detect(), timeout=PATIENCE_S)
    assert details_of(refused.value)["ErrorInfo"].reason == "MODEL_LOADING"
    server.load()
    assert health(server, "likeness.v1.FaceSwapService") == "SERVING"
    assert stub.DetectFaces(Detect(), timeout=PATIENCE_S).width_px == 7
    assert servicer.calls == 1


def test_reflection_names_the_service(face_stage: Any) -> None:
    _, _, server = face_stage()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        assert "likeness.v1.FaceSwapService" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_likeness_error_travels_with_reason_field_and_retry(face_stage: Any) -> None:
    def behave(context: Any) -> None:
        raise LikenessError("FACE_NOT_FOUND", "There is no face.", field="picture", retry_after_s=2.5)

    stub, _, _ = face_stage(behave)
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(), timeout=PATIENCE_S)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    details = details_of(raised.value)
    assert details["ErrorInfo"].reason == "FACE_NOT_FOUND"
    assert details["ErrorInfo"].domain == "likeness.v1"
    assert details["ErrorInfo"].metadata["field"] == "picture"
    assert details["BadRequest"].field_violations[0].field == "picture"
    assert details["RetryInfo"].retry_delay.ToNanoseconds() == 2_500_000_000
    with pytest.raises(LikenessError) as back:
        raise_from_rpc(raised.value)
    assert (back.value.reason, back.value.detail) == ("FACE_NOT_FOUND", "There is no face.")
    assert (back.value.field, back.value.retry_after_s) == ("picture", 2.5)


def test_unexpected_failure_tells_a_request_id_and_nothing_else(
    face_stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(context: Any) -> None:
        raise RuntimeError("password is swordfish")

    stub, _, _ = face_stage(behave)
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(), timeout=PATIENCE_S, metadata=call_metadata("request-42"))
    assert raised.value.code() == grpc.StatusCode.INTERNAL
    message = raised.value.details() or ""
    assert "request-42" in message
    assert "swordfish" not in message
    assert "swordfish" in caplog.text


def test_request_id_comes_back_and_hostile_ones_do_not(face_stage: Any) -> None:
    stub, _, _ = face_stage()
    for sent, kept in (("abc-1", True), ('x" level="error', False)):
        _, call = stub.DetectFaces.with_call(Detect(), timeout=PATIENCE_S, metadata=(("x-request-id", sent),))
        returned = dict(call.trailing_metadata())["x-request-id"]
        assert (returned == sent) is kept
        assert returned


def test_expired_deadline_never_reaches_the_model(face_stage: Any) -> None:
    release = threading.Event()
    stub, servicer, _ = face_stage(
        lambda context: release.wait(PATIENCE_S) and None, max_concurrency=1, max_queue_size=4
    )
    running = stub.DetectFaces.future(Detect(), timeout=PATIENCE_S)
    wait_for(lambda: servicer.calls)
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(), timeout=0.2)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    release.set()
    running.result()
    time.sleep(0.1)
    assert servicer.calls == 1


def test_default_deadline_is_known_to_the_servicer(face_stage: Any) -> None:
    left: list[float] = []

    def behave(context: Any) -> None:
        deadline = current_deadline()
        assert deadline is not None
        left.append(deadline.remaining_s())

    stub, _, _ = face_stage(behave, default_deadline_s=33.0)
    stub.DetectFaces(Detect())
    stub.DetectFaces(Detect(), timeout=60)
    assert 20 < left[0] <= 33
    assert 40 < left[1] <= 60.1


def test_caller_deadline_is_propagated_to_calls_made_on_its_behalf(face_stage: Any) -> None:
    left: list[float] = []
    stub, _, _ = face_stage(lambda context: left.append(context.time_remaining()))
    with use_deadline(Deadline.after(30.0)):
        stub.DetectFaces(Detect(), timeout=60)
        stub.DetectFaces(Detect())
    assert all(15 < seconds <= 30.1 for seconds in left)


def test_full_queue_is_resource_exhausted_with_a_delay(face_stage: Any) -> None:
    release = threading.Event()
    stub, servicer, server = face_stage(
        lambda context: release.wait(PATIENCE_S) and None, max_concurrency=1, max_queue_size=1
    )
    calls = [stub.DetectFaces.future(Detect(), timeout=PATIENCE_S) for _ in range(2)]
    wait_for(lambda: server._admission.waiting + server._admission.running == 2)
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(), timeout=PATIENCE_S)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    details = details_of(raised.value)
    assert details["ErrorInfo"].reason == "QUEUE_FULL"
    assert details["RetryInfo"].retry_delay.seconds >= 1
    assert 'likeness_queue_depth{stage="faceswap"} 1.0' in metrics_of(server)
    release.set()
    assert [call.result().width_px for call in calls] == [7, 7]
    assert servicer.calls == 2


def test_no_more_than_max_concurrency_run_at_once(face_stage: Any) -> None:
    lock, seen, now = threading.Lock(), [], [0]

    def behave(context: Any) -> None:
        with lock:
            now[0] += 1
            seen.append(now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1

    stub, _, _ = face_stage(behave, max_concurrency=2, max_queue_size=16)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: stub.DetectFaces(Detect(), timeout=PATIENCE_S), range(10)))
    assert max(seen) == 2


def test_metrics_count_methods_and_codes(face_stage: Any) -> None:
    stub, _, server = face_stage()
    stub.DetectFaces(Detect(), timeout=PATIENCE_S)
    text = metrics_of(server)
    assert 'likeness_requests_total{code="OK",method="DetectFaces"}' in text
    assert 'likeness_request_seconds_bucket{le="0.005",method="DetectFaces"}' in text
    assert 'likeness_model_load_seconds{stage="faceswap"}' in text
    assert "process_resident_memory_bytes" in text


def test_bidirectional_stream_answers_while_it_listens(vocoder_stage: Any) -> None:
    stub, _, _ = vocoder_stage
    proceed = threading.Event()

    def requests() -> Iterator[Any]:
        for engine in ("a", "b"):
            yield vocoder_pb2.SynthesizeWaveformRequest(options={"engine": engine})
            assert proceed.wait(PATIENCE_S)

    replies = stub.SynthesizeWaveform(requests(), timeout=PATIENCE_S)
    assert next(replies).engine == "a"  # before the second request was sent
    proceed.set()
    assert [reply.engine for reply in replies] == ["b"]


def test_error_in_mid_stream_keeps_what_was_sent(vocoder_stage: Any) -> None:
    stub, _, _ = vocoder_stage
    requests = [vocoder_pb2.SynthesizeWaveformRequest(options={"engine": engine}) for engine in ("a", "fail")]
    replies = stub.SynthesizeWaveform(iter(requests), timeout=PATIENCE_S)
    assert next(replies).engine == "a"
    with pytest.raises(grpc.RpcError) as raised:
        next(replies)
    assert details_of(raised.value)["ErrorInfo"].metadata["field"] == "options.engine"


def test_caller_that_leaves_frees_its_slot(vocoder_stage: Any) -> None:
    stub, servicer, server = vocoder_stage
    stay = threading.Event()

    def requests() -> Iterator[Any]:
        yield vocoder_pb2.SynthesizeWaveformRequest(options={"engine": "a"})
        stay.wait(PATIENCE_S)

    replies = stub.SynthesizeWaveform(requests(), timeout=PATIENCE_S)
    next(replies)
    assert server._admission.running == 1
    replies.cancel()
    assert servicer.finished.wait(PATIENCE_S)
    wait_for(lambda: server._admission.running == 0)
    stay.set()


def test_silent_caller_without_a_deadline_does_not_hold_its_slot(start_stage: Any, connect: Any) -> None:
    servicer = VocoderServicer()
    add = vocoder_pb2_grpc.add_VocoderServiceServicer_to_server
    server = start_stage(servicer, "VocoderService", add, vocoder_pb2.DESCRIPTOR, default_deadline_s=0.2)
    stub, stay = vocoder_stub(connect(server)), threading.Event()

    def requests() -> Iterator[Any]:
        stay.wait(PATIENCE_S)
        yield from ()

    replies = stub.SynthesizeWaveform(requests())
    with pytest.raises(grpc.RpcError):
        next(replies)
    assert servicer.finished.wait(PATIENCE_S)
    stay.set()


def test_drain_lets_running_calls_finish_and_refuses_new_ones(face_stage: Any) -> None:
    release = threading.Event()
    stub, servicer, server = face_stage(
        lambda context: release.wait(PATIENCE_S) and None, drain_wait_s=0.3, drain_grace_s=PATIENCE_S
    )
    running = stub.DetectFaces.future(Detect(), timeout=PATIENCE_S)
    wait_for(lambda: servicer.calls)
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(server.drain)
        wait_for(lambda: health(server, "likeness.v1.FaceSwapService") == "NOT_SERVING")
        wait_for(lambda: _is_refused(stub))
        assert not drained.done()
        release.set()
        assert drained.result(PATIENCE_S) is True
    assert running.result().width_px == 7
    assert servicer.closed


def _is_refused(stub: Any) -> bool:
    """Whether new calls are: one that is let in is given up after a moment."""
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(), timeout=2)  # refused ones are tried again for a part of that
    return bool(raised.value.code() == grpc.StatusCode.UNAVAILABLE)


def test_a_stream_outlives_its_connection_s_age(start_stage: Any, connect: Any) -> None:
    """Aged connections are closed so that clients look for new replicas, but not under a running call."""
    servicer = VocoderServicer()
    add = vocoder_pb2_grpc.add_VocoderServiceServicer_to_server
    options = {"max_connection_age_s": 0.3, "drain_grace_s": 0.1}
    stub = vocoder_stub(connect(start_stage(servicer, "VocoderService", add, vocoder_pb2.DESCRIPTOR, **options)))

    def requests() -> Iterator[Any]:
        for number in range(8):
            yield vocoder_pb2.SynthesizeWaveformRequest(options={"engine": str(number)})
            time.sleep(0.25)

    assert [reply.engine for reply in stub.SynthesizeWaveform(requests(), timeout=PATIENCE_S)] == list("01234567")


def test_drain_lets_a_servicer_end_its_long_streams(start_stage: Any, connect: Any) -> None:
    servicer: Any = VocoderServicer()
    draining = threading.Event()
    servicer.drain = draining.set
    add = vocoder_pb2_grpc.add_VocoderServiceServicer_to_server
    server = start_stage(servicer, "VocoderService", add, vocoder_pb2.DESCRIPTOR, drain_grace_s=PATIENCE_S)

    def requests() -> Iterator[Any]:
        yield vocoder_pb2.SynthesizeWaveformRequest(options={"engine": "a"})
        draining.wait(PATIENCE_S)

    replies = vocoder_stub(connect(server)).SynthesizeWaveform(requests(), timeout=PATIENCE_S)
    assert next(replies).engine == "a"
    started_s = time.monotonic()
    assert server.drain() is True and time.monotonic() - started_s < PROMPT_S
    assert list(replies) == []


def test_taken_port_is_an_error(face_stage: Any) -> None:
    _, _, server = face_stage()
    with pytest.raises(RuntimeError):
        face_stage(port=server.port)


def test_nobody_there_is_stage_unavailable_by_name() -> None:
    with open_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as raised:
        face_stub(channel).DetectFaces(Detect(), timeout=PATIENCE_S)
    with pytest.raises(LikenessError, match="The faceswap cannot be reached") as told:
        raise_from_rpc(raised.value, stage="faceswap")
    assert told.value.reason == "STAGE_UNAVAILABLE"
    assert told.value.row.http_status == 503


def test_a_caller_who_tries_again_reaches_a_server_that_comes_up_late(face_stage: Any) -> None:
    stub, servicer, server = face_stage(load=False)
    threading.Timer(0.3, server.load).start()
    reply = None
    for _ in range(100):
        try:
            reply = stub.DetectFaces(Detect(), timeout=PATIENCE_S)
            break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            time.sleep(0.05)
    assert reply is not None
    assert servicer.calls == 1


def test_message_over_the_limit_is_refused(face_stage: Any) -> None:
    stub, servicer, _ = face_stage()
    with pytest.raises(grpc.RpcError) as raised:
        stub.DetectFaces(Detect(picture={"encoded": bytes(5 * 1024 * 1024)}), timeout=PATIENCE_S)
    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert servicer.calls == 0
