"""Band steps through the WaveNet, in numba: ring buffers instead of recomputation, several streams at a time.

Each layer remembers its last `dilation` inputs (the fast-wavenet idea, Le Paine et al., arXiv:1611.09482), so a step
costs one pass through the weights whatever the receptive field; and one pass serves all streams that take the step
together (tiles.py). Each is a lane: what a lane computes does not depend on the others.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numba
import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numpy.typing import NDArray

from services.vocoder.config import STEPS_PER_FRAME
from services.vocoder.noise import hash_position
from services.vocoder.pqmf import BANDS
from services.vocoder.tiles import add_paired_products, add_products, apply_gates, apply_silu, at_address

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

LOUDEST: Final = 16.0  # in units of a band's level; no sample goes beyond


class Sampling(NamedTuple):
    """How narrowly is drawn, at temperature 1: [0] where a frame is unvoiced, [1] where it is voiced, between by the
    voicing."""

    choice: F64  # (2,), power of the mixture's weights
    spread: F64  # (2, 4), factor of the logistics' scales, by band


# Likelihood also pays for what is rarely right. Drawn as learned, voiced speech is noisier than recorded speech; drawn
# more narrowly, and most in the band that holds the harmonics, it is not. What is unvoiced is noise, and needs its
# spread (figures in the model card).
SAMPLING: Final = Sampling(
    choice=np.array([1.0, 1.5]), spread=np.array([[0.8, 0.8, 0.9, 0.9], [0.42, 0.7, 0.84, 0.84]])
)

# A lane as `run_steps` reads it. Addresses are those of contiguous float32 arrays that the caller keeps alive.
LANE: Final = np.dtype(
    [
        ("rings", np.int64),  # address: (sum of dilations, C), every layer's last inputs; changed
        ("last", np.int64),  # address: (4,), what was heard last; changed
        ("conditions", np.int64),  # address: (centres, L, 2P), gate offsets at frame centres
        ("voicing", np.int64),  # address: (centres,), in [0, 1]
        ("prior", np.int64),  # address: (steps + draft width - 1, 4), the draft's bands
        ("bands", np.int64),  # address: (steps, 4), what is drawn, or heard when forced
        ("parameters", np.int64),  # address: (steps, 48), distribution parameters; filled
        ("step", np.int64),  # of the stream, the first of these
        ("offset", np.int64),  # steps from the first centre of `conditions` to the first step
        ("seed", np.uint64),
        ("temperature", np.float64),
        ("forced", np.bool_),  # `bands` is given, not drawn
    ]
)


class StepWeights(NamedTuple):
    """What a step reads. C channels, P those in multiples of 16, L layers, W inputs. For pairs see bfloat.py.

    Matrices are (inputs, outputs). `gate` is one matrix for what is heard now and what was heard `dilation` steps ago.
    """

    input: F32  # (W, P)
    input_bias: F32  # (P,)
    gate: U32  # (L, 2C, P), pairs of 2P outputs: signals and gates
    gate_bias: F32  # (L, 2P)
    mix: U32  # (L, C, P), pairs of 2P outputs: residual and skip
    mix_bias: F32  # (L, 2P)
    head: F32  # (C, P)
    head_bias: F32  # (P,)
    output: F32  # (C, O), O the distribution's parameters in multiples of 16
    output_bias: F32  # (O,)
    dilations: I64  # (L,)


@numba.njit(inline="always")
def _copy(values: F32, out: F32) -> None:
    """An assignment of slices would take seconds to compile."""
    for i in range(values.size):
        out[i] = values[i]


@numba.njit(cache=True, nogil=True)
def condition_frames(
    around: F32,
    frame_in: F32,
    frame_in_bias: F32,
    frame_out: F32,
    frame_out_bias: F32,
    condition: F32,
    out: F32,
) -> None:
    """Frames with their neighbours, (F, 410), -> every layer's gate offsets, `out` (F, L, 2P).

    frame_in: (410, H). frame_out: (H, Q). condition: (Q, L * 2P).
    """
    hidden = np.empty((1, frame_in_bias.size), np.float32)
    code = np.empty((1, frame_out_bias.size), np.float32)
    offsets = np.empty((1, condition.shape[1]), np.float32)
    for frame in range(around.shape[0]):
        _copy(frame_in_bias, hidden[0])
        add_products(frame_in, around[frame : frame + 1], hidden, 1)
        for i in range(hidden.size):
            hidden[0, i] = np.tanh(hidden[0, i])
        _copy(frame_out_bias, code[0])
        add_products(frame_out, hidden, code, 1)
        for i in range(code.size):
            code[0, i] = np.tanh(code[0, i])
        for i in range(offsets.size):
            offsets[0, i] = np.float32(0.0)
        add_products(condition, code, offsets, 1)
        _copy(offsets[0], out[frame].reshape(-1))


@numba.njit(inline="always")
def _between(values: F32, steps: int) -> float:
    """A value `steps` steps after the first centre: between two centres in a straight line."""
    centre = steps // STEPS_PER_FRAME
    weight = np.float64(steps % STEPS_PER_FRAME) / STEPS_PER_FRAME
    return float(values[centre] + weight * (values[centre + 1] - values[centre]))


@numba.njit(inline="always")
def _by_voicing(unvoiced: float, voiced: float, voicing: float) -> float:
    return unvoiced + voicing * (voiced - unvoiced)


@numba.njit(inline="always")
def _random(seed: np.uint64, step: int, band: int) -> tuple[float, float]:
    """A number in [0, 1), and one of the standard logistic distribution: functions of seed and position."""
    bits = hash_position(seed, np.uint64(step * BANDS + band))
    uniform = (np.float64(bits & np.uint64(0xFFFFFFFF)) + 0.5) / 4294967296.0
    return np.float64(bits >> np.uint64(32)) / 4294967296.0, np.log(uniform / (1.0 - uniform))


@numba.njit(cache=True, nogil=True)
def draw_ahead(
    sampling: Sampling,
    voicing: F32,
    offset: int,
    seed: np.uint64,
    temperature: float,
    first: int,
    choice: F32,
    shares: F32,
    spreads: F32,
) -> None:
    """All that drawing needs beside the distributions, for steps from `first` on.

    Filled: `choice` (n,), the power of the mixture's weights; `shares` (n, 4), in [0, 1): the component in which the
    running sum of the weights' shares passes it is drawn from; `spreads` (n, 4), in scales from that one's mean.
    """
    for at in range(choice.size):
        voiced = _between(voicing, offset + at)
        choice[at] = _by_voicing(sampling.choice[0], sampling.choice[1], voiced)
        for band in range(BANDS):
            share, logistic = _random(seed, first + at, band)
            shares[at, band] = share
            spread = _by_voicing(sampling.spread[0, band], sampling.spread[1, band], voiced)
            spreads[at, band] = spread * temperature * logistic


@numba.njit(cache=True, nogil=True)
def _draw(
    parameters: F32,
    mixtures: int,
    floor: float,
    sampling: Sampling,
    voicing: float,
    temperature: float,
    seed: np.uint64,
    step: int,
    shares: F64,
    out: F32,
) -> None:
    """Samples each band's mixture, more narrowly than it was learned; the randomness is a function of seed and step."""
    choice = _by_voicing(sampling.choice[0], sampling.choice[1], voicing)
    for band in range(BANDS):
        base = band * 3 * mixtures
        highest = parameters[base]
        for k in range(1, mixtures):
            highest = max(highest, parameters[base + k])
        total = 0.0
        for k in range(mixtures):
            shares[k] = np.exp(choice * np.float64(parameters[base + k] - highest))
            total += shares[k]
        share, logistic = _random(seed, step, band)
        threshold = total * share
        chosen = mixtures - 1
        running = 0.0
        for k in range(mixtures):
            running += shares[k]
            if running > threshold:
                chosen = k
                break
        log_scale = np.float64(max(parameters[base + 2 * mixtures + chosen], np.float32(floor)))
        spread = _by_voicing(sampling.spread[0, band], sampling.spread[1, band], voicing)
        scale = spread * temperature * np.exp(log_scale)
        value = parameters[base + mixtures + chosen] + scale * logistic
        out[band] = min(max(value, -LOUDEST), LOUDEST)


@numba.njit(cache=True, nogil=True)
def run_steps(weights: StepWeights, sampling: Sampling, lanes: Any, steps: int, mixtures: int, floor: float) -> None:
    """Runs `steps` steps of every lane of `lanes`, (n,) of LANE."""
    count = lanes.size
    layers = weights.gate.shape[0]
    channels = weights.mix.shape[1]
    padded = weights.mix.shape[2]
    width = weights.input.shape[0] // BANDS - 1
    depth = weights.dilations.sum()
    inputs = np.empty((count, weights.input.shape[0]), np.float32)
    heard = np.empty((count, 2 * channels), np.float32)  # by a layer: now, and `dilation` steps ago
    gates = np.empty((count, 2 * padded), np.float32)
    passed = np.empty((count, padded), np.float32)
    first = np.empty((count, padded), np.float32)
    # the residual stream and the sum of the skips behind each other: what a layer's `mix` adds to
    mixed = np.empty((count, 2 * padded), np.float32)
    drawn = np.empty((count, weights.output_bias.size), np.float32)
    shares = np.empty(mixtures)
    for step in range(steps):
        for lane in range(count):
            last = carray(at_address(lanes[lane].last), (BANDS,))
            prior = carray(at_address(lanes[lane].prior), (steps + width - 1, BANDS))
            for b in range(BANDS):
                inputs[lane, b] = last[b]
            for i in range(width):
                for b in range(BANDS):
                    inputs[lane, BANDS * (1 + i) + b] = prior[step + i, b]
            _copy(weights.input_bias, first[lane])
        add_products(weights.input, inputs, first, count)
        for lane in range(count):
            for i in range(padded):
                mixed[lane, i] = first[lane, i]
                mixed[lane, padded + i] = np.float32(0.0)
        ring = 0
        for layer in range(layers):
            dilation = weights.dilations[layer]
            for lane in range(count):
                rings = carray(at_address(lanes[lane].rings), (depth, channels))
                slot = ring + (lanes[lane].step + step) % dilation
                for i in range(channels):
                    heard[lane, i] = mixed[lane, i]
                    heard[lane, channels + i] = rings[slot, i]
                    rings[slot, i] = mixed[lane, i]
                _begin_gates(lanes[lane].conditions, lanes[lane].offset + step, layer, weights.gate_bias, gates[lane])
            ring += dilation
            add_paired_products(weights.gate[layer], heard, gates, count)
            for lane in range(count):
                apply_gates(gates[lane], passed[lane])
                for i in range(2 * padded):
                    mixed[lane, i] += weights.mix_bias[layer, i]
            add_paired_products(weights.mix[layer], passed, mixed, count)
        for lane in range(count):
            apply_silu(mixed[lane, padded:], passed[lane])
            _copy(weights.head_bias, first[lane])
            _copy(weights.output_bias, drawn[lane])
        add_products(weights.head, passed, first, count)
        for lane in range(count):
            apply_silu(first[lane], passed[lane])
        add_products(weights.output, passed, drawn, count)
        for lane in range(count):
            _hear(lanes[lane], sampling, drawn[lane], step, steps, mixtures, floor, shares)


@numba.njit(cache=True, nogil=True)
def _begin_gates(address: int, steps: int, layer: int, bias: F32, gates: F32) -> None:
    """The gates' bias and offset, `steps` steps after the first centre: between two centres in a straight line."""
    layers, width = bias.shape
    centre = steps // STEPS_PER_FRAME
    weight = np.float32(steps % STEPS_PER_FRAME) / np.float32(STEPS_PER_FRAME)
    conditions = carray(at_address(address), (centre + 2, layers, width))
    for i in range(width):
        before = conditions[centre, layer, i]
        gates[i] = bias[layer, i] + before + weight * (conditions[centre + 1, layer, i] - before)


@numba.njit(cache=True, nogil=True)
def _hear(
    lane: Any, sampling: Sampling, drawn: F32, step: int, steps: int, mixtures: int, floor: float, shares: F64
) -> None:
    """What a lane's next step begins with: what it draws now, or is told."""
    outputs = BANDS * 3 * mixtures
    parameters = carray(at_address(lane.parameters), (steps, outputs))
    bands = carray(at_address(lane.bands), (steps, BANDS))
    last = carray(at_address(lane.last), (BANDS,))
    for i in range(outputs):
        parameters[step, i] = drawn[i]
    if not lane.forced:
        since = lane.offset + step
        voiced = _between(carray(at_address(lane.voicing), (since // STEPS_PER_FRAME + 2,)), since)
        number = lane.step + step
        _draw(drawn, mixtures, floor, sampling, voiced, lane.temperature, lane.seed, number, shares, bands[step])
    for b in range(BANDS):
        last[b] = bands[step, b]
