"""Small WaveNets with random weights, what they read, and what torch's forward pass makes of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from services.common.audio import FRAME_CHANNELS
from services.vocoder.bfloat import pack_pairs, unpack_pairs
from services.vocoder.config import STEPS_PER_FRAME, WaveNetConfig
from services.vocoder.packed import PackedWaveNet, pack
from services.vocoder.pqmf import BANDS
from services.vocoder.stepping import Lanes, Stepper, Steps
from services.vocoder.wavenet import WaveNet

SMALL = WaveNetConfig(layers=5, dilation_cycle=3, channels=12, condition_channels=8, mixtures=3)


def small_network(seed: int = 0) -> WaveNet:
    torch.manual_seed(seed)
    network = WaveNet(SMALL)
    with torch.no_grad():
        network.output.weight.mul_(10)  # so that what the network hears matters
    return network.eval()


def rounded(network: WaveNet) -> WaveNet:
    """The network with the weights of its layers as the CPU engine keeps them."""
    with torch.no_grad():
        for layer in network.layers:
            for matrix in (layer.now.weight, layer.past.weight, layer.mix.weight):
                matrix.copy_(torch.from_numpy(unpack_pairs(pack_pairs(matrix.numpy()))))
    return network


def packed_of(network: WaveNet) -> PackedWaveNet:
    return pack(network.config, {name: value.numpy() for name, value in network.state_dict().items()})


def speech_like_frames(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    frames = np.empty((count, FRAME_CHANNELS), np.float32)
    frames[:, :80] = -4 + np.cumsum(random.normal(0, 0.2, (count, 80)), axis=0)
    frames[:, 80] = np.log(150) + np.cumsum(random.normal(0, 0.02, count))
    frames[:, 81] = np.where(np.arange(count) % 12 < 8, 0.9, 0.2)
    return frames


class Segment(NamedTuple):
    """What the network reads: `target` (T, 4), `draft` (T + width - 1, 4), normalised `frames`."""

    target: np.ndarray
    draft: np.ndarray
    frames: np.ndarray


def some_segment(config: WaveNetConfig, intervals: int = 8) -> Segment:
    random = np.random.default_rng(0)
    steps = intervals * STEPS_PER_FRAME
    return Segment(
        target=random.normal(size=(steps, BANDS)).astype(np.float32),
        draft=random.normal(size=(steps + config.draft_width - 1, BANDS)).astype(np.float32),
        frames=random.normal(size=(intervals + 1 + 2 * config.frame_context, FRAME_CHANNELS)).astype(np.float32),
    )


def forward_pass(network: WaveNet, segment: Segment) -> np.ndarray:
    """The same parameters by the network in torch, all steps at once."""
    history = F.pad(torch.from_numpy(segment.target), (0, 0, 1, 0))[None, :-1]
    with torch.no_grad():
        found = network(history, torch.from_numpy(segment.draft)[None], torch.from_numpy(segment.frames)[None])
    return found[0].numpy()


def forced_parameters(packed: PackedWaveNet, lanes: Lanes, segment: Segment) -> np.ndarray:
    """Teacher-forced distribution parameters of one segment, in two pieces, as an engine runs them."""
    config = packed.config
    target, draft, frames = segment
    width = 2 * config.frame_context + 1
    centres = len(frames) - width + 1
    around = np.stack([frames[centre : centre + width].reshape(-1) for centre in range(centres)])
    conditions = packed.conditions(around)
    rings = np.zeros((int(packed.steps.dilations.sum()), config.channels), np.float32)
    last = np.zeros(BANDS, np.float32)
    found = np.empty((len(target), config.output_width), np.float32)
    middle = len(target) // 2 + 7  # between two centres
    stepper = Stepper(lanes, together=1, groups=1)
    for begin, end in ((0, middle), (middle, len(target))):
        steps = Steps(
            rings=rings,
            last=last,
            conditions=conditions,
            voicing=np.zeros(centres, np.float32),
            prior=draft[begin : end + config.draft_width - 1],
            bands=target[begin:end].copy(),
            parameters=np.empty((end - begin, config.output_width), np.float32),
            first=begin,
            offset=begin,
            seed=np.uint64(1),
            temperature=1.0,
            forced=True,
        )
        stepper.run(steps)
        found[begin:end] = steps.parameters
    return found
