"""The WaveNet's weights as the CPU engine wants them: one contiguous array per kind, layers stacked.

Those of the layers, nearly all there are, are rounded to bfloat16 and packed in pairs; the others stay float32.
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

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True)
class PackedWaveNet:
    """Matrices are (outputs, inputs), so that every output is one dot product over contiguous memory.

    C channels, L layers, Q condition channels. condition: (L, 2C, Q). dilations: (L,). Of two weights a word, see
    `bfloat.pack_pairs`: now and past, (L, C, C) of 2C outputs, the gates' share of the present and of the delayed step;
    mix, (L, C, C) of 2C outputs, residual and skip.
    """

    config: WaveNetConfig
    frame_in: F32
    frame_in_bias: F32
    frame_out: F32
    frame_out_bias: F32
    input: F32
    input_bias: F32
    now: U32
    past: U32
    gate_bias: F32
    condition: F32
    mix: U32
    mix_bias: F32
    head: F32
    head_bias: F32
    output: F32
    output_bias: F32
    dilations: I64

    @property
    def bytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))


def pack(config: WaveNetConfig, weights: dict[str, F32]) -> PackedWaveNet:
    """Weights by the names they have in `wavenet.WaveNet` -> packed.

    Raises:
        LikenessError: MODEL_INVALID when a tensor is missing or its shape is not the configuration's.
    """
    channels, condition = config.channels, config.condition_channels

    def take(name: str, *shape: int) -> F32:
        if name not in weights or weights[name].shape != shape:
            found = weights[name].shape if name in weights else "nothing"
            raise LikenessError("MODEL_INVALID", f"WaveNet weights: {name} should have shape {shape}, found {found}.")
        return np.ascontiguousarray(weights[name], np.float32)

    def stack(name: str, *shape: int) -> F32:
        return np.stack([take(f"layers.{layer}.{name}", *shape) for layer in range(config.layers)])

    square = (2 * channels, channels)
    return PackedWaveNet(
        config=config,
        frame_in=take("frame_in.weight", 2 * condition, config.frame_width),
        frame_in_bias=take("frame_in.bias", 2 * condition),
        frame_out=take("frame_out.weight", condition, 2 * condition),
        frame_out_bias=take("frame_out.bias", condition),
        input=take("input.weight", channels, config.input_width),
        input_bias=take("input.bias", channels),
        now=pack_pairs(stack("now.weight", *square)),
        past=pack_pairs(stack("past.weight", *square)),
        gate_bias=stack("now.bias", 2 * channels),
        condition=stack("condition.weight", 2 * channels, condition),
        mix=pack_pairs(stack("mix.weight", *square)),
        mix_bias=stack("mix.bias", 2 * channels),
        head=take("head.weight", channels, channels),
        head_bias=take("head.bias", channels),
        output=take("output.weight", config.output_width, channels),
        output_bias=take("output.bias", config.output_width),
        dilations=np.array(config.dilations, np.int64),
    )


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
