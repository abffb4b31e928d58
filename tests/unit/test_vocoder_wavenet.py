"""The CPU engine equals the torch model; chunks, seeds and bounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES
from services.common.errors import LikenessError
from services.vocoder.conditioning import DRAFT_TUNING, between_centres, log_levels, normalise_frames
from services.vocoder.config import STEPS_PER_FRAME, WaveNetConfig
from services.vocoder.draft import DraftEngine
from services.vocoder.packed import load_packed
from services.vocoder.pqmf import BANDS, analyse
from services.vocoder.stepping import CoreLanes
from services.vocoder.wavenet import WaveNet, negative_log_likelihood
from services.vocoder.wavenet_engine import WaveNetEngine
from tests.wavenets import (
    SMALL,
    forced_parameters,
    forward_pass,
    packed_of,
    rounded,
    small_network,
    some_segment,
    speech_like_frames,
)


@pytest.mark.parametrize("config", [SMALL, WaveNetConfig(layers=10)], ids=["small", "served"])
def test_the_cpu_step_equals_the_torch_forward_pass(config: WaveNetConfig) -> None:
    torch.manual_seed(3)
    network = WaveNet(config).eval()
    with torch.no_grad():
        network.output.weight.mul_(10)
    packed = packed_of(rounded(network))
    segment = some_segment(config)
    expected = forward_pass(network, segment)
    assert expected.std() > 0.05
    np.testing.assert_allclose(forced_parameters(packed, CoreLanes(packed), segment), expected, atol=2e-4)


def test_a_stream_is_what_the_torch_model_predicts_of_its_own_past() -> None:
    """With one component and no randomness a sample is the predicted mean: the engine's run must be a fixed point."""
    torch.manual_seed(0)
    network = WaveNet(WaveNetConfig(layers=5, dilation_cycle=3, channels=12, condition_channels=8, mixtures=1)).eval()
    with torch.no_grad():
        network.output.weight.mul_(30)
    config = network.config
    count, seed = 12, 5
    frames = speech_like_frames(count)
    stream = WaveNetEngine(packed_of(network), temperature=1e-6).stream(seed=seed)
    intervals: list[np.ndarray] = []
    keep = stream._bank.push
    stream._bank.push = lambda bands: (intervals.append(bands), keep(bands))[1]  # type: ignore[method-assign]
    stream.push(frames)
    stream.finish()
    first, last = 3, 9  # centres of frames that enclose the part looked at
    half = STEPS_PER_FRAME // 2
    centres = slice(half, half + (count - 1) * STEPS_PER_FRAME)  # levels are known from the first to the last
    level = np.exp(between_centres(log_levels(frames)))
    heard = np.concatenate(intervals)[centres] / level
    prior = analyse(DraftEngine(DRAFT_TUNING).synthesize(frames, seed))[centres] / level
    begin, end = first * STEPS_PER_FRAME, last * STEPS_PER_FRAME
    with torch.no_grad():
        parameters = network(
            torch.from_numpy(heard[begin - 1 : end - 1])[None],
            torch.from_numpy(prior[begin - config.draft_before : end + config.draft_after])[None],
            torch.from_numpy(normalise_frames(frames[first - config.frame_context : last + 1 + config.frame_context]))[
                None
            ],
        )
    settled = slice(config.receptive_field, None)
    means = parameters.view(1, -1, BANDS, 3)[0, settled, :, 1].numpy()
    assert means.std() > 0.05
    np.testing.assert_allclose(heard[begin:end][settled], means, atol=2e-3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 14), max_size=6), count=st.integers(1, 14), seed=st.integers(0, 2**64 - 1))
def test_chunks_join_to_the_same_samples(cuts: list[int], count: int, seed: int) -> None:
    engine = WaveNetEngine(packed_of(small_network()))
    frames = speech_like_frames(count)
    whole = engine.synthesize(frames, seed)
    assert whole.shape == (count * HOP_SAMPLES,)
    stream = engine.stream(seed=seed)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [stream.push(frames[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), whole)


def test_the_seed_decides_and_streams_do_not_mix() -> None:
    engine = WaveNetEngine(packed_of(small_network()))
    one, other = speech_like_frames(10, seed=1), speech_like_frames(10, seed=2)
    alone = engine.synthesize(one, seed=1)
    assert not np.array_equal(alone, engine.synthesize(one, seed=2))
    first, second = engine.stream(seed=1), engine.stream(seed=1)
    parts = []
    for t in range(10):
        parts.append(first.push(one[t : t + 1]))
        second.push(other[t : t + 1])
    np.testing.assert_array_equal(np.concatenate([*parts, first.finish()]), alone)


def test_a_long_stream_keeps_little() -> None:
    stream = WaveNetEngine(packed_of(small_network())).stream(seed=0)
    frames = speech_like_frames(60)
    for t in range(60):
        stream.push(frames[t : t + 1])
    assert len(stream._frames) < 10
    assert stream._condition is not None
    assert len(stream._condition) == 1
    assert len(stream._draft_samples) < 6 * HOP_SAMPLES


def test_loudness_of_the_frames_is_loudness_of_the_sound() -> None:
    """The network sees normalised signals, so 20 dB more in the mel is close to 20 dB more in the output."""
    network = small_network()
    with torch.no_grad():
        network.frame_in.weight.zero_()
    engine = WaveNetEngine(packed_of(network))
    frames = speech_like_frames(40)
    louder = frames.copy()
    louder[:, :80] += np.float32(np.log(10))
    ratio = engine.synthesize(louder, seed=1).std() / engine.synthesize(frames, seed=1).std()
    assert ratio == pytest.approx(10, rel=0.02)


def test_the_future_is_not_heard() -> None:
    network = small_network()
    config = network.config
    random = torch.Generator().manual_seed(0)
    history = torch.randn(1, 200, BANDS, generator=random)
    draft = torch.randn(1, 200 + config.draft_width - 1, BANDS, generator=random)
    frames = torch.randn(1, 5 + 2 * config.frame_context, FRAME_CHANNELS, generator=random)
    changed = history.clone()
    changed[:, 100] += 1
    with torch.no_grad():
        difference = (network(changed, draft, frames) - network(history, draft, frames)).abs().sum(dim=-1)[0]
    assert (difference[:100] == 0).all()
    assert difference[100] > 0
    reach = config.receptive_field
    assert difference[100 + reach - 1] > 0
    assert (difference[100 + reach :] == 0).all()


def test_likelihood_integrates_to_one() -> None:
    config = WaveNetConfig(mixtures=2)
    parameters = torch.zeros(1, 1, config.output_width)
    parameters.view(1, 1, BANDS, 3, 2)[..., 1, :] = torch.tensor([-1.0, 2.0])
    parameters.view(1, 1, BANDS, 3, 2)[..., 2, :] = torch.tensor([-1.0, 0.3])
    grid = torch.linspace(-40, 40, 8001)
    target = grid[None, :, None].expand(1, -1, BANDS)
    density = torch.exp(-negative_log_likelihood(parameters.expand(1, 8001, -1), target, config))
    torch.testing.assert_close(torch.trapezoid(density, grid, dim=1), torch.ones(1, BANDS), atol=1e-3, rtol=0)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    weights = {name: value.numpy() for name, value in small_network().state_dict().items()}
    config = {"config": json.dumps(SMALL.as_dict())}
    save_file(weights, tmp_path / "good.safetensors", metadata=config)
    assert load_packed(tmp_path / "good.safetensors").config == SMALL
    del weights["head.weight"]
    save_file(weights, tmp_path / "short.safetensors", metadata=config)
    with pytest.raises(LikenessError, match=r"head\.weight") as caught:
        load_packed(tmp_path / "short.safetensors")
    assert caught.value.reason == "MODEL_INVALID"
    (tmp_path / "noise.safetensors").write_bytes(b"\x07" * 100)
    with pytest.raises(LikenessError):
        load_packed(tmp_path / "noise.safetensors")
