"""The WaveNet's weights as the CPU engine wants them: one contiguous array per kind, layers stacked.

Those of the layers, nearly all there are, are rounded to bfloat16 and packed in pairs; the others stay float32. Outputs
come in multiples of 16, filled with zeros.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from services.common.errors import LikenessError
from services.vocoder.bfloat import pack_pairs
from services.vocoder.config import WaveNetConfig
from services.vocoder.generate import StepWeights, condition_frames
from services.vocoder.tiles import padded

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class PackedWaveNet:
    """C channels, P those in multiples of 16, L layers, Q condition channels; matrices are (inputs, outputs)."""

    config: WaveNetConfig
    frame_in: F32  # (410, 2Q)
    frame_in_bias: F32
    frame_out: F32  # (2Q, Q)
    frame_out_bias: F32
    condition: F32  # (Q, L * 2P)
    steps: StepWeights

    def conditions(self, around: F32) -> F32:
        """Every layer's gate offsets, (F, L, 2P), of normalised frames with their neighbours, (F, 410)."""
        offsets = np.empty((len(around), *self.steps.gate_bias.shape), np.float32)
        condition_frames(
            around,
            self.frame_in,
            self.frame_in_bias,
            self.frame_out,
            self.frame_out_bias,
            self.condition,
            offsets,
        )
        return offsets

    @property
    def bytes(self) -> int:
        arrays = [*vars(self).values(), *self.steps]
        return sum(value.nbytes for value in arrays if isinstance(value, np.ndarray))


def pack(config: WaveNetConfig, weights: dict[str, F32]) -> PackedWaveNet:
    """Weights by the names they have in `wavenet.WaveNet` -> packed.

    Raises:
        LikenessError: MODEL_INVALID when a tensor is missing or its shape is not the configuration's.
    """
    channels, condition, layers = config.channels, config.condition_channels, config.layers

    def take(name: str, *shape: int) -> F32:
        if name not in weights or weights[name].shape != shape:
            found = weights[name].shape if name in weights else "nothing"
            raise LikenessError("MODEL_INVALID", f"WaveNet weights: {name} should have shape {shape}, found {found}.")
        return np.ascontiguousarray(weights[name], np.float32)

    def stack(name: str, *shape: int) -> F32:
        return np.stack([take(f"layers.{layer}.{name}", *shape) for layer in range(layers)])

    def matrix(name: str, outputs: int, inputs: int) -> F32:
        return np.ascontiguousarray(_pad(take(f"{name}.weight", outputs, inputs), axis=0).T)

    def bias(name: str, outputs: int) -> F32:
        return _pad(take(f"{name}.bias", outputs), axis=0)

    square = (2 * channels, channels)
    gate = np.concatenate([stack("now.weight", *square), stack("past.weight", *square)], axis=2)
    conditions = _pad_halves(stack("condition.weight", 2 * channels, condition))
    return PackedWaveNet(
        config=config,
        frame_in=matrix("frame_in", 2 * condition, config.frame_width),
        frame_in_bias=bias("frame_in", 2 * condition),
        frame_out=_pad(matrix("frame_out", condition, 2 * condition), axis=0),
        frame_out_bias=bias("frame_out", condition),
        condition=_pad(np.ascontiguousarray(conditions.reshape(-1, condition).T), axis=0),
        steps=StepWeights(
            input=matrix("input", channels, config.input_width),
            input_bias=bias("input", channels),
            gate=pack_pairs(_pad_halves(gate)),
            gate_bias=_pad_halves(stack("now.bias", 2 * channels)),
            mix=pack_pairs(_pad_halves(stack("mix.weight", *square))),
            mix_bias=_pad_halves(stack("mix.bias", 2 * channels)),
            head=matrix("head", channels, channels),
            head_bias=bias("head", channels),
            output=matrix("output", config.output_width, channels),
            output_bias=bias("output", config.output_width),
            dilations=np.array(config.dilations, np.int64),
        ),
    )


def _pad(values: F32, *, axis: int) -> F32:
    """Zeros behind an axis, up to a multiple of 16."""
    missing = padded(values.shape[axis]) - values.shape[axis]
    return np.pad(values, [(0, missing if axis == number else 0) for number in range(values.ndim)])


def _pad_halves(values: F32) -> F32:
    """Zeros behind either half of axis 1, of layers stacked: signals and gates, or residual and skip."""
    return np.concatenate([_pad(half, axis=1) for half in np.split(values, 2, axis=1)], axis=1)


def trim_halves(values: F32, size: int) -> F32:
    """The first `size` of either half of the last axis: without what `pack` filled with zeros."""
    return np.concatenate([half[..., :size] for half in np.split(values, 2, axis=-1)], axis=-1)


def load_packed(path: Path) -> PackedWaveNet:
    """Reads what `train.py` exported.

    Raises:
        LikenessError: MODEL_INVALID when the file is not such a network.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            config = WaveNetConfig(**json.loads(file.metadata()["config"]))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise LikenessError("MODEL_INVALID", f"{path} does not hold a WaveNet: {error}") from error
    return pack(config, weights)
