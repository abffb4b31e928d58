"""VocoderService over a real gRPC connection: streaming, validation, deadlines, separation of streams."""

from __future__ import annotations

import json
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from likeness.v1 import types_pb2, vocoder_pb2, vocoder_pb2_grpc
from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, SAMPLE_RATE_HZ
from services.common.client import raise_from_rpc
from services.common.errors import LikenessError
from services.common.grants import use_grant
from services.common.models import ModelEntry, describe_file, register_model
from services.common.server import StageServer
from services.common.wire import frames_to_wire, samples_from_s16
from services.vocoder import DraftEngine, Engine
from services.vocoder.config import WaveNetConfig
from services.vocoder.servicer import VocoderServicer
from services.vocoder.settings import VocoderSettings
from services.vocoder.wavenet import WaveNet
from tests.waiting import PATIENCE_S, PROMPT_S

Request = vocoder_pb2.SynthesizeWaveformRequest
Options = vocoder_pb2.WaveformOptions


def some_frames(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    frames = np.empty((count, FRAME_CHANNELS), np.float32)
    frames[:, :80] = -3 + random.normal(0, 0.3, (count, 80)) - np.linspace(0, 3, 80)
    frames[:, 80] = np.log(140)
    frames[:, 81] = 0.9
    return frames


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a small untrained WaveNet."""
    folder = tmp_path_factory.mktemp("models")
    config = WaveNetConfig(layers=4, dilation_cycle=3, channels=12, condition_channels=8, mixtures=2)
    torch.manual_seed(0)
    save_file(WaveNet(config).state_dict(), folder / "w.safetensors", {"config": json.dumps(config.as_dict())})
    entry: ModelEntry = describe_file(
        folder / "w.safetensors", name="vocoder-wavenet", models_dir=folder, license="x", source="x", data="x"
    )
    register_model(folder, entry)
    return folder


@pytest.fixture
def stage(
    start_stage: Callable[..., StageServer], connect: Callable[..., Any], models_dir: Path
) -> Callable[..., tuple[Any, StageServer]]:
    def start(**options: Any) -> tuple[Any, StageServer]:
        settings = VocoderSettings(
            grants="off",
            **{"port": 0, "metrics_port": 0, "models_dir": models_dir, "drain_wait_s": 0.0, "drain_grace_s": 2.0}
            | options,
        )
        server = start_stage(
            VocoderServicer(settings),
            "VocoderService",
            vocoder_pb2_grpc.add_VocoderServiceServicer_to_server,
            vocoder_pb2.DESCRIPTOR,
            settings=settings,
        )
        return vocoder_pb2_grpc.VocoderServiceStub(connect(server)), server  # type: ignore[no-untyped-call]

    return start


def requests(frames: np.ndarray, chunk: int = 5, **options: Any) -> Iterator[Request]:
    yield Request(options=Options(**options))
    for start in range(0, len(frames), chunk):
        yield Request(frames=frames_to_wire(frames[start : start + chunk]))


def heard(responses: list[Any]) -> np.ndarray:
    return np.concatenate([samples_from_s16(response.samples_s16) for response in responses])


def refusal(call: Callable[[], Any]) -> LikenessError:
    with pytest.raises(LikenessError) as caught:
        try:
            list(call())
        except grpc.RpcError as error:
            raise_from_rpc(error)
    return caught.value


@pytest.mark.parametrize("engine", ["draft", "wavenet"])
def test_frames_in_samples_out_in_small_messages(stage: Any, engine: str) -> None:
    stub, _ = stage()
    frames = some_frames(600)
    one = list(stub.SynthesizeWaveform(requests(frames[:90], chunk=7, engine=engine, seed=4), timeout=60))
    other = list(stub.SynthesizeWaveform(requests(frames[:90], chunk=90, engine=engine, seed=4), timeout=60))
    assert heard(one).size == 90 * HOP_SAMPLES
    np.testing.assert_array_equal(heard(one), heard(other))
    for response in one:
        assert response.engine == engine
        assert response.sample_rate_hz == SAMPLE_RATE_HZ
        assert len(response.samples_s16) <= 64 * 1024
    assert len(other) > 4  # one big message of frames is still answered piece by piece


def test_the_default_engine_is_a_setting(stage: Any) -> None:
    frames = some_frames(8)
    for engine in ("draft", "wavenet"):
        stub, _ = stage(vocoder_engine=engine)
        found = list(stub.SynthesizeWaveform(requests(frames, seed=2), timeout=120))
        assert {response.engine for response in found} == {engine}
    expected = Engine(DraftEngine()).synthesize(frames, 2)
    draft = list(stub.SynthesizeWaveform(requests(frames, seed=2, engine="draft"), timeout=120))
    np.testing.assert_allclose(heard(draft), np.clip(expected, -1, 1), atol=1 / 32768)


def test_a_default_engine_without_weights_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(LikenessError, match="default") as caught:
        VocoderServicer(VocoderSettings(grants="off", models_dir=tmp_path, vocoder_engine="wavenet")).load()
    assert caught.value.reason == "MODEL_INVALID"
    draft_only = VocoderServicer(VocoderSettings(grants="off", models_dir=tmp_path))
    draft_only.load()
    call = draft_only.SynthesizeWaveform(requests(some_frames(3), engine="wavenet"), None)
    with use_grant(None), pytest.raises(LikenessError, match="draft"):
        next(iter(call))


def test_sound_comes_while_frames_are_still_awaited(stage: Any) -> None:
    stub, _ = stage()
    waiting: queue.Queue[Request | None] = queue.Queue()
    responses = stub.SynthesizeWaveform(iter(waiting.get, None), timeout=120)
    frames = some_frames(12)
    waiting.put(Request(frames=frames_to_wire(frames[:4])))
    first = next(responses)
    assert len(first.samples_s16) == 2 * (2 * HOP_SAMPLES - 100)  # two frames of delay, and half a window
    waiting.put(Request(frames=frames_to_wire(frames[4:])))
    waiting.put(None)
    assert heard([first, *responses]).size == 12 * HOP_SAMPLES


def _wire(**changes: Any) -> types_pb2.AcousticFrames:
    message = frames_to_wire(some_frames(2))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def _with_value(channel: int, value: float) -> types_pb2.AcousticFrames:
    frames = some_frames(2)
    frames[1, channel] = value
    return frames_to_wire(frames)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "frames"),
        ([Request(options=Options())], "frames"),
        ([Request(frames=_wire(frame_count=0, values=b""))], "frames"),
        ([Request()], "part"),
        ([Request(frames=_wire(channel_count=80))], "frames.channel_count"),
        ([Request(frames=_wire(frame_count=3))], "frames.values"),
        ([Request(frames=_wire(values=b"abc"))], "frames.values"),
        ([Request(frames=_with_value(5, float("nan")))], "frames.values"),
        ([Request(frames=_with_value(5, float("inf")))], "frames.values"),
        ([Request(frames=_with_value(5, 99.0))], "frames.values"),
        ([Request(frames=_with_value(80, 0.0))], "frames.values"),
        ([Request(frames=_with_value(81, 1.5))], "frames.values"),
        ([Request(frames=_wire()), Request(options=Options())], "options"),
        ([Request(options=Options(engine="vinyl")), Request(frames=_wire())], "options.engine"),
        ([Request(options=Options(temperature=9)), Request(frames=_wire())], "options.temperature"),
        ([Request(options=Options(temperature=float("nan"))), Request(frames=_wire())], "options.temperature"),
    ],
)
def test_bad_streams_are_refused_by_the_name_of_the_field(stage: Any, messages: list[Any], field: str) -> None:
    stub, _ = stage()
    error = refusal(lambda: stub.SynthesizeWaveform(iter(messages), timeout=120))
    assert (error.reason, error.field) == ("INVALID_FIELD", field)


def test_a_stalled_stream_ends_at_its_deadline_and_frees_its_slot(stage: Any) -> None:
    stub, _ = stage(max_concurrency=1, max_queue_size=1)
    stall = threading.Event()

    def stalling() -> Iterator[Request]:
        yield Request(frames=frames_to_wire(some_frames(4)))
        stall.wait(PATIENCE_S)

    began_s = time.monotonic()
    error = refusal(lambda: stub.SynthesizeWaveform(stalling(), timeout=0.7))
    assert error.reason == "DEADLINE_EXCEEDED"
    assert time.monotonic() - began_s < PROMPT_S
    again = list(stub.SynthesizeWaveform(requests(some_frames(10)), timeout=120))
    assert heard(again).size == 10 * HOP_SAMPLES
    stall.set()


def test_nothing_of_one_stream_is_heard_in_another(stage: Any) -> None:
    stub, _ = stage(max_concurrency=4)
    frames = [some_frames(60, seed) for seed in range(4)]
    alone = [
        heard(list(stub.SynthesizeWaveform(requests(frames[i], chunk=3, seed=i, engine="wavenet"), timeout=60)))
        for i in range(4)
    ]
    together: dict[int, np.ndarray] = {}

    def run(i: int) -> None:
        call = stub.SynthesizeWaveform(requests(frames[i], chunk=3, seed=i, engine="wavenet"), timeout=60)
        together[i] = heard(list(call))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for i in range(4):
        np.testing.assert_array_equal(together[i], alone[i])


def test_the_real_time_factor_is_observed(stage: Any) -> None:
    stub, server = stage()
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"

    def count() -> float:
        with urllib.request.urlopen(url) as page:  # noqa: S310 - the server of this test
            lines = page.read().decode().splitlines()
        name = 'likeness_real_time_factor_count{stage="vocoder"}'
        return float(next(line.split()[-1] for line in lines if line.startswith(name)))

    before = count()
    list(stub.SynthesizeWaveform(requests(some_frames(10)), timeout=120))
    assert count() == before + 1
