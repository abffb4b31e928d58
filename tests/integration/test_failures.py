"""What a user sees when stages are killed, stopped, too slow or too busy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import likeness
from likeness._stack import State
from likeness._stack.process import ServerProcess
from likeness.v1 import encoder_pb2, vocoder_pb2
from services.common.audio import FloatArray, acoustic_frames
from services.common.decode import decode_audio
from services.common.rpc_status import from_rpc
from services.common.wire import frames_to_wire, samples_to_s16
from tests.integration.conftest import (
    PERSONA,
    EncoderServiceStub,
    OwnServer,
    RunningStack,
    VocoderServiceStub,
    metric,
)
from tests.integration.granting import granting_channel
from tests.same_speech import is_same_speech
from tests.waiting import eventually

LONG_TEXT = " ".join(["Several people were waiting outside the bank while heavy rain fell on the coast."] * 20)


def _open(server: ServerProcess) -> grpc.Channel:
    return granting_channel(server.spec.address, Path(server.spec.environment["LIKENESS_KEYS_DIR"]))


class HeldCall:
    """A call whose requests we send one by one, so that it is under way for as long as we like."""

    def __init__(self, server: ServerProcess, timeout_s: float | None = 120.0) -> None:
        self.server = server
        self.channel = _open(server)
        self._requests: SimpleQueue[Any] = SimpleQueue()
        samples = decode_audio(PERSONA.read_bytes()).samples[:32_000]
        if server.spec.name == "vocoder":
            stub = VocoderServiceStub(self.channel)
            self.answers = stub.SynthesizeWaveform(iter(self._requests.get, None), timeout=timeout_s)
            self.message: Any = vocoder_pb2.SynthesizeWaveformRequest(frames=frames_to_wire(acoustic_frames(samples)))
        else:
            self.answers = EncoderServiceStub(self.channel).EmbedSpeech.future(
                iter(self._requests.get, None), timeout=timeout_s
            )
            self.message = encoder_pb2.EmbedSpeechRequest(samples_s16=samples_to_s16(samples)[:65_536])
        self.send()

    def send(self) -> None:
        self._requests.put(self.message)

    def finish(self) -> Any:
        """Ends the requests and waits for the rest of the answers."""
        self._requests.put(None)
        result = list(self.answers) if self.server.spec.name == "vocoder" else self.answers.result()
        self.channel.close()
        return result

    def inflight(self) -> float:
        return metric(self.server.spec.metrics_port, "likeness_inflight")


@pytest.fixture
def hold() -> Iterator[Callable[..., HeldCall]]:
    held: list[HeldCall] = []

    def start(server: ServerProcess, timeout_s: float | None = 120.0) -> HeldCall:
        call = HeldCall(server, timeout_s)
        held.append(call)
        assert eventually(lambda: call.inflight() >= 1)
        return call

    yield start
    for call in held:
        call.answers.cancel()
        call.channel.close()


def wait_restarted(running: RunningStack, name: str, old_pid: int) -> None:
    """Until another process of that server is ready, and the gateway has found it."""
    stack = running.stack
    assert eventually(lambda: stack.pids[name] != old_pid and stack.states[name] is State.READY, 300)
    assert eventually(lambda: httpx.get(f"{running.url}/readyz", timeout=60).status_code == 200, 300)


def test_a_stage_killed_in_mid_request_is_a_503_and_comes_back(
    running: RunningStack, client: likeness.Client, voice: likeness.Voice
) -> None:
    """A long text is being spoken when the kernel kills the vocoder. The caller learns which stage is away; the stack
    starts it again and says so; the next request is served."""
    from tests.integration.test_speech import SENTENCE

    before = client.speak(SENTENCE, voice=voice.id, seed=9).audio
    failures: list[likeness.LikenessAPIError] = []

    def speak() -> None:
        try:
            client._transport.request(  # not streamed, so that the failure can be told in the answer
                "POST", "/v1/audio/speech", json={"input": LONG_TEXT, "voice": voice.id, "stream": False}
            )
        except likeness.LikenessAPIError as error:
            failures.append(error)

    caller = threading.Thread(target=speak)
    caller.start()
    assert eventually(lambda: running.metric("vocoder", "likeness_inflight") >= 1)
    killed = running.stack.pids["vocoder"]
    os.kill(killed, signal.SIGKILL)
    caller.join(120)
    (error,) = failures
    assert (error.status, error.reason) == (503, "STAGE_UNAVAILABLE")
    assert "vocoder" in error.detail and error.retry_after_s is not None

    wait_restarted(running, "vocoder", killed)
    told = [event.detail for event in running.events if event.server == "vocoder"]
    assert any("ended (SIGKILL); starting it again" in detail for detail in told)

    assert is_same_speech(client.speak(SENTENCE, voice=voice.id, seed=9).audio, before)


def test_a_stream_that_breaks_is_no_short_speech(
    running: RunningStack, client: likeness.Client, voice: likeness.Voice
) -> None:
    """Once audio flows the status is out; the connection then ends without a proper end, which clients notice."""
    killed: list[int] = []

    def receive(chunk: bytes) -> None:
        if not killed:
            killed.append(running.stack.pids["synthesizer"])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(likeness.LikenessConnectionError):
        client.speak(LONG_TEXT, voice=voice.id, to=receive)
    wait_restarted(running, "synthesizer", killed[0])


@pytest.mark.parametrize("stage", ["vocoder", "encoder"])
def test_sigterm_drains(own_server: OwnServer, hold: Callable[..., HeldCall], stage: str) -> None:
    """The call under way is finished, a new one is refused, and the process ends with 0."""
    server = own_server(stage)
    call = hold(server)
    second = _open(server)
    health_pb2_grpc.HealthStub(second).Check(health_pb2.HealthCheckRequest(), timeout=60)
    server.terminate()
    assert eventually(lambda: _is_refused(second, stage, call.message)), "new calls are, once drain_wait_s has passed"
    assert server.exit_code is None, "it waits for the call under way"
    second.close()
    call.send()
    result = call.finish()
    if stage == "vocoder":
        assert sum(len(answer.samples_s16) for answer in result) == 2 * 2 * 32_000, "both messages became samples"
    else:
        assert len(result.profile.embedding) == 256
    assert server.wait(120) == 0


def _is_refused(channel: grpc.Channel, stage: str, message: Any) -> bool:
    """Whether new calls are: one that is let in is served, or given up after a moment."""
    try:
        if stage == "vocoder":
            list(VocoderServiceStub(channel).SynthesizeWaveform(iter([message]), timeout=3))
        else:
            EncoderServiceStub(channel).EmbedSpeech(iter([message]), timeout=3)
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
    return False


def test_an_idle_stage_ends_at_once(own_server: OwnServer) -> None:
    server = own_server("vocoder")
    server.terminate()
    assert server.wait(60) == 0


@pytest.mark.parametrize("stage", ["vocoder", "encoder"])
def test_an_expired_deadline_never_reaches_the_model(
    own_server: OwnServer, hold: Callable[..., HeldCall], stage: str
) -> None:
    """One call holds the only slot; the next one's time passes in the queue. The model runs for the first alone."""
    server = own_server(stage, max_concurrency=1)
    call = hold(server)
    late = HeldCall(server, timeout_s=5.0)  # enough to come as far as the queue on a busy machine
    with pytest.raises(grpc.RpcError) as expired:
        late.finish()
    assert expired.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call.finish()
    port = server.spec.metrics_port

    def counted(*codes: str) -> float:
        return sum(metric(port, "likeness_requests_total", code=code) for code in codes)

    # the caller's goodbye may come to the server before its own clock says that the time has passed
    assert eventually(lambda: counted("DEADLINE_EXCEEDED", "CANCELLED") == 1)
    assert eventually(lambda: counted("OK") == 1)
    assert metric(port, "likeness_real_time_factor_count", stage=stage) == 1


def test_a_full_queue_is_resource_exhausted(own_server: OwnServer, hold: Callable[..., HeldCall]) -> None:
    server = own_server("vocoder", max_concurrency=1, max_queue_size=0)
    call = hold(server)
    with pytest.raises(grpc.RpcError) as full:
        HeldCall(server).finish()
    told = from_rpc(full.value)
    assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert told.reason == "QUEUE_FULL" and told.retry_after_s
    assert sum(len(answer.samples_s16) for answer in call.finish()) > 0, "the call under way was not disturbed"


def test_a_full_queue_is_429_with_retry_after(
    own_server: OwnServer,
    own_gateway: Callable[[Mapping[str, ServerProcess]], str],
    hold: Callable[..., HeldCall],
) -> None:
    vocoder = own_server("vocoder", max_concurrency=1, max_queue_size=0)
    url = own_gateway({"vocoder": vocoder})
    with likeness.Client(url, timeout=120) as client:
        consent = client.voice_consents.create(who="Juniper", kind="synthetic", evidence="examples/persona")
        voice = client.voices.enrol("juniper", PERSONA, consent=consent.id)
        call = hold(vocoder)
        with pytest.raises(likeness.LikenessAPIError) as full:
            client.speak("Hello there.", voice=voice.id)
        assert (full.value.status, full.value.reason) == (429, "QUEUE_FULL")
        assert full.value.retry_after_s is not None and full.value.retry_after_s >= 1
        call.finish()
        assert len(client.speak("Hello there.", voice=voice.id).audio) > 10_000


def test_calls_beyond_the_slots_wait_for_their_turn(own_server: OwnServer) -> None:
    """Six calls at one slot: all are served, one after the other, and give what one alone gives."""
    server = own_server("vocoder", max_concurrency=1, max_queue_size=8)

    def call(_: int) -> FloatArray:
        answers = HeldCall(server).finish()
        return np.frombuffer(b"".join(answer.samples_s16 for answer in answers), "<i2").astype(np.float32)

    alone = call(0)
    with ThreadPoolExecutor(6) as pool:
        assert all(np.array_equal(result, alone) for result in pool.map(call, range(6)))
