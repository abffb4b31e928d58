"""Streams that take their steps together: each hears what it would hear alone, none is left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from services.common.audio import FRAME_CHANNELS
from services.vocoder import stepping
from services.vocoder.config import WaveNetConfig
from services.vocoder.packed import pack
from services.vocoder.wavenet import WaveNet
from services.vocoder.wavenet_engine import WaveNetEngine
from tests.waiting import PATIENCE_S

STREAMS = 20


def make_engine(*, together: int, threads: int) -> WaveNetEngine:
    torch.manual_seed(4)
    network = WaveNet(WaveNetConfig(layers=5, dilation_cycle=3, channels=24, condition_channels=8, mixtures=3))
    with torch.no_grad():
        network.output.weight.mul_(10)
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return WaveNetEngine(pack(network.config, weights), together=together, threads=threads)


def frames_of(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    frames = np.full((5 + seed % 7, FRAME_CHANNELS), -4, np.float32) + random.normal(0, 0.3, (5 + seed % 7, 82))
    frames[:, 80:] = (np.log(120), 0.9)
    return frames.astype(np.float32)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many streams went through the network together, call by call."""
    found: list[int] = []
    run: Callable[..., Any] = stepping.run_steps

    def counted(weights: Any, sampling: Any, lanes: np.ndarray, *rest: Any) -> None:
        found.append(len(lanes))
        run(weights, sampling, lanes, *rest)
        time.sleep(0.002)  # others come meanwhile, as they do while a network of full size works

    monkeypatch.setattr(stepping, "run_steps", counted)
    return found


@pytest.mark.parametrize(("together", "threads"), [(1, 1), (4, 1), (16, 1), (3, 2), (16, 3)])
def test_a_stream_in_company_is_the_stream_alone(sizes: list[int], together: int, threads: int) -> None:
    engine = make_engine(together=together, threads=threads)
    alone = [engine.synthesize(frames_of(seed), seed) for seed in range(STREAMS)]
    assert max(sizes) == 1
    sizes.clear()
    with ThreadPoolExecutor(STREAMS) as pool:
        company = list(pool.map(lambda seed: engine.synthesize(frames_of(seed), seed), range(STREAMS)))
    for one, other in zip(alone, company, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(sizes) <= together
    assert together == 1 or max(sizes) > 1
    assert engine._stepper._leaders == engine._stepper._grouped == 0


def test_groups_share_the_streams(sizes: list[int]) -> None:
    engine = make_engine(together=16, threads=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: engine.synthesize(frames_of(6), seed), range(8)))
    assert 1 < max(sizes) <= 5  # eight streams, two groups; one more where they meet unevenly


def test_a_step_that_fails_frees_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(together=4, threads=1)
    good, run = engine.synthesize(frames_of(1), 1), stepping.run_steps
    gate = threading.Event()

    def fails(*arguments: Any) -> None:
        gate.wait(PATIENCE_S)
        raise ArithmeticError("no")

    monkeypatch.setattr(stepping, "run_steps", fails)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(engine.synthesize, frames_of(seed), seed) for seed in range(6)]
        gate.set()
        errors = [call.exception(PATIENCE_S) for call in calls]
    assert all(isinstance(error, (ArithmeticError, RuntimeError)) for error in errors)
    monkeypatch.setattr(stepping, "run_steps", run)
    np.testing.assert_array_equal(engine.synthesize(frames_of(1), 1), good)


@pytest.mark.parametrize("prior", [np.zeros((4, 8), np.float32)[:, :4], np.zeros((4, 4))])
def test_arrays_that_compiled_code_would_misread_are_refused(prior: Any) -> None:
    floats = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="contiguous"):
        stepping.Steps(floats, floats[0], floats, floats[0], prior, floats, floats, 0, 0, np.uint64(0), 1.0)
