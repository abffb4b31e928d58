"""Lanes in torch: the steps of the CPU engine and of the forward pass; recorded programs; what is missing is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.vocoder import engines as engines_module
from services.vocoder.config import WaveNetConfig
from services.vocoder.engines import WAVENET_MODEL, lanes_on, load_engines
from services.vocoder.packed import PackedWaveNet
from services.vocoder.servicer import VocoderServicer
from services.vocoder.settings import VocoderSettings
from services.vocoder.stepping import CoreLanes
from services.vocoder.torch_lanes import Program, TorchLanes
from services.vocoder.wavenet import WaveNet
from services.vocoder.wavenet_engine import WaveNetEngine
from tests.waiting import PATIENCE_S
from tests.wavenets import (
    forced_parameters,
    forward_pass,
    packed_of,
    rounded,
    small_network,
    some_segment,
    speech_like_frames,
)

MODELS = CommonSettings().models_dir
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def published_network() -> WaveNet:
    path = Registry(MODELS).path(WAVENET_MODEL)
    with safe_open(path, framework="pt") as file:
        network = WaveNet(WaveNetConfig(**json.loads(file.metadata()["config"])))
        network.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - it is no dict
    return network.eval()


def torch_engine(packed: PackedWaveNet, *, together: int = 4, device: str = "cpu", **options: Any) -> WaveNetEngine:
    lanes = TorchLanes(packed, together=together, device=device, **options)
    return WaveNetEngine(packed, together=together, lanes=lanes)


def replayed(programs: Sequence[Program]) -> list[Program]:
    """What CUDA graphs do, on a CPU: operations are noted once, then repeated on the very same memory."""
    return [_replayed(program) for program in programs]


def _replayed(program: Program) -> Program:
    tape: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    class Tape(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = function(*args, **(kwargs or {}))
            tape.append((function, args, kwargs or {}, found))
            return found

    with Tape():
        program()

    def replay() -> None:
        for function, args, kwargs, kept in tape:
            again = function(*args, **kwargs)
            for old, new in zip(tree_flatten(kept)[0], tree_flatten(again)[0], strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    assert len(tape) > 100
    return replay


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [small_network, published_network], ids=["small", "published"])
def test_a_step_equals_the_forward_pass_and_the_cpu_engine(make: Callable[[], WaveNet], device: str) -> None:
    network = rounded(make())
    packed = packed_of(network)
    segment = some_segment(network.config)
    expected = forward_pass(network, segment)
    found = forced_parameters(packed, TorchLanes(packed, together=2, device=device), segment)
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(found, forced_parameters(packed, CoreLanes(packed), segment), atol=2e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [small_network, published_network], ids=["small", "published"])
def test_the_same_seed_draws_what_the_cpu_engine_draws(make: Callable[[], WaveNet], device: str) -> None:
    packed = packed_of(make())
    frames = speech_like_frames(14)
    expected = WaveNetEngine(packed).synthesize(frames, seed=3)
    engine = torch_engine(packed, device=device)
    assert expected.std() > 0.01
    np.testing.assert_allclose(engine.synthesize(frames, seed=3), expected, atol=1e-4)
    assert np.abs(engine.synthesize(frames, seed=4) - expected).max() > 0.01
    calm = WaveNetEngine(packed).synthesize(frames, seed=3, temperature=0.5)
    np.testing.assert_allclose(engine.synthesize(frames, seed=3, temperature=0.5), calm, atol=1e-4)


@pytest.fixture(scope="module")
def engine() -> WaveNetEngine:
    return torch_engine(packed_of(small_network()))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 9), max_size=4), count=st.integers(1, 9), seed=st.integers(0, 2**64 - 1))
def test_chunks_join_to_the_same_samples(engine: WaveNetEngine, cuts: list[int], count: int, seed: int) -> None:
    frames = speech_like_frames(count)
    whole = engine.synthesize(frames, seed)
    stream = engine.stream(seed=seed)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [stream.push(frames[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), whole)


@pytest.mark.parametrize(("together", "streams"), [(1, 3), (3, 8), (16, 8)])
def test_a_stream_in_company_is_the_stream_alone(monkeypatch: pytest.MonkeyPatch, together: int, streams: int) -> None:
    engine = torch_engine(packed_of(small_network()), together=together)
    frames = [speech_like_frames(5 + seed % 4, seed) for seed in range(streams)]
    alone = [engine.synthesize(frames[seed], seed) for seed in range(streams)]
    sizes: list[int] = []
    advance = TorchLanes.advance

    def counted(lanes: TorchLanes, group: Any, count: int) -> None:
        sizes.append(len(group))
        advance(lanes, group, count)

    monkeypatch.setattr(TorchLanes, "advance", counted)
    with ThreadPoolExecutor(streams) as pool:
        company = list(pool.map(lambda seed: engine.synthesize(frames[seed], seed), range(streams)))
    for one, other in zip(alone, company, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(sizes) <= together
    assert together == 1 or max(sizes) > 1


def test_a_lane_keeps_nothing_of_who_had_it_before() -> None:
    engine, fresh = (torch_engine(packed_of(small_network()), together=1) for _ in range(2))
    frames = speech_like_frames(6, seed=2)
    engine.synthesize(speech_like_frames(9, seed=1), seed=1)
    np.testing.assert_array_equal(engine.synthesize(frames, seed=2), fresh.synthesize(frames, seed=2))


def test_recorded_programs_do_what_was_recorded() -> None:
    """Everything that differs between two replays must lie in the memory that was recorded."""
    packed = packed_of(small_network())
    plain, recorded = torch_engine(packed), torch_engine(packed, record=replayed)
    for count, seed in ((4, 1), (9, 2)):
        frames = speech_like_frames(count, seed)
        np.testing.assert_array_equal(recorded.synthesize(frames, seed), plain.synthesize(frames, seed))


def test_a_step_never_waits_for_the_device() -> None:
    """On the device that has no values, reading one on the host fails, as it would while a CUDA graph is recorded; and
    so does mixing in memory of the host."""
    ran: list[Program] = []

    def run(programs: Sequence[Program]) -> list[Program]:
        programs[0]()
        ran.append(programs[0])
        return list(programs)

    TorchLanes(packed_of(small_network()), together=4, device="meta", record=run)
    assert ran
    lanes = TorchLanes(packed_of(small_network()), together=4, device="meta")
    lanes._spreads.tensor = torch.zeros(lanes._spreads.tensor.shape)
    with pytest.raises(RuntimeError, match="device"):
        lanes._take(0, 1)


def test_a_step_that_fails_frees_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = torch_engine(packed_of(small_network()), together=2)
    frames = speech_like_frames(5)
    good = engine.synthesize(frames, 1)
    take = TorchLanes._take

    def fails(*arguments: Any) -> None:
        raise ArithmeticError("no")

    monkeypatch.setattr(TorchLanes, "_take", fails)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(engine.synthesize, frames, seed) for seed in range(3)]
        errors = [call.exception(PATIENCE_S) for call in calls]
    assert all(isinstance(error, (ArithmeticError, RuntimeError)) for error in errors)
    monkeypatch.setattr(TorchLanes, "_take", take)
    for _ in range(3):
        np.testing.assert_array_equal(engine.synthesize(frames, 1), good)


def test_without_torch_a_gpu_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = packed_of(small_network())
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LikenessError, match=r"PyTorch cannot be imported.*`train`.*VOCODER_DEVICE to cpu") as caught:
        lanes_on("cuda", packed, together=4)
    assert caught.value.reason == "MODEL_INVALID"
    assert lanes_on("auto", packed, together=4) is None
    assert lanes_on("cpu", packed, together=4) is None


def test_without_a_gpu_only_auto_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(LikenessError, match=r"finds no NVIDIA GPU.*driver"):
        VocoderServicer(VocoderSettings(grants="off", vocoder_device="cuda")).load()
    assert "wavenet" in load_engines(MODELS, device="auto")


def test_with_a_gpu_auto_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(engines_module, "_missing_for_torch", lambda *, gpu: "")
    monkeypatch.setattr(
        "services.vocoder.torch_lanes.TorchLanes",
        lambda packed, *, together, device: asked.append(f"{device} {together}"),
    )
    for device in ("auto", "cuda", "torch-cpu"):
        load_engines(MODELS, device=device, together=32)  # type: ignore[arg-type]
    assert asked == ["cuda 32", "cuda 32", "cpu 32"]


def test_serving_on_cores_does_not_import_torch() -> None:
    script = (
        "import sys\n"
        "from services.vocoder.servicer import VocoderServicer\n"
        "from services.vocoder.engines import load_engines\n"
        "from services.vocoder.settings import VocoderSettings\n"
        "assert 'wavenet' in load_engines(VocoderSettings().models_dir)\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'torch'])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
