"""One band step after another through the WaveNet, in numba: ring buffers instead of recomputation.

Each layer remembers its last `dilation` inputs (the fast-wavenet idea, Le Paine et al., arXiv:1611.09482), so a step
costs one pass through the weights whatever the receptive field. Those of the layers are read as pairs of bfloat16
(bfloat.py), eight inputs at a time for all outputs, so that no sums across a vector are needed.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.vocoder.bfloat import lower_half, upper_half
from services.vocoder.config import STEPS_PER_FRAME
from services.vocoder.noise import hash_position
from services.vocoder.pqmf import BANDS

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

LOUDEST: Final = 16.0  # in units of a band's level; no sample goes beyond
# Likelihood also pays for what is rarely right. Drawn as learned, speech is noisier than recorded speech; drawn more
# narrowly, and most in the band that holds the harmonics, it is not (figures in the model card).
CHOICE_POWER: Final = 1.5  # of the mixture's weights
BAND_SPREAD: Final = (0.42, 0.7, 0.84, 0.84)  # of the logistics' scales, at temperature 1


@numba.njit(cache=True, fastmath=True)
def matrix_vector(matrix: F32, vector: F32, bias: F32, out: F32) -> None:
    """out = matrix @ vector + bias; rows are taken four at a time."""
    rows, columns = matrix.shape
    whole = rows // 4 * 4
    for r in range(0, whole, 4):
        a = np.float32(0.0)
        b = np.float32(0.0)
        c = np.float32(0.0)
        d = np.float32(0.0)
        for i in range(columns):
            x = vector[i]
            a += matrix[r, i] * x
            b += matrix[r + 1, i] * x
            c += matrix[r + 2, i] * x
            d += matrix[r + 3, i] * x
        out[r] = a + bias[r]
        out[r + 1] = b + bias[r + 1]
        out[r + 2] = c + bias[r + 2]
        out[r + 3] = d + bias[r + 3]
    for r in range(whole, rows):
        a = np.float32(0.0)
        for i in range(columns):
            a += matrix[r, i] * vector[i]
        out[r] = a + bias[r]


@numba.njit(inline="always", fastmath=True)
def _add_product(words: U32, vector: F32, out: F32, half: int) -> None:
    """out (2 * half,) += matrix @ vector, the matrix as `bfloat.pack_pairs` packs it.

    `half` is handed in although `words` knows it: read from there it keeps LLVM from using vectors, at a ninth of the
    speed.
    """
    inputs = words.shape[0]
    whole = inputs // 8 * 8
    for i in range(0, whole, 8):
        x0, x1, x2, x3 = vector[i], vector[i + 1], vector[i + 2], vector[i + 3]
        x4, x5, x6, x7 = vector[i + 4], vector[i + 5], vector[i + 6], vector[i + 7]
        for j in range(half):
            w0, w1, w2, w3 = words[i, j], words[i + 1, j], words[i + 2, j], words[i + 3, j]
            w4, w5, w6, w7 = words[i + 4, j], words[i + 5, j], words[i + 6, j], words[i + 7, j]
            low = lower_half(w0) * x0 + lower_half(w1) * x1 + lower_half(w2) * x2 + lower_half(w3) * x3
            low += lower_half(w4) * x4 + lower_half(w5) * x5 + lower_half(w6) * x6 + lower_half(w7) * x7
            high = upper_half(w0) * x0 + upper_half(w1) * x1 + upper_half(w2) * x2 + upper_half(w3) * x3
            high += upper_half(w4) * x4 + upper_half(w5) * x5 + upper_half(w6) * x6 + upper_half(w7) * x7
            out[j] += low
            out[half + j] += high
    for i in range(whole, inputs):
        x = vector[i]
        for j in range(half):
            out[j] += lower_half(words[i, j]) * x
            out[half + j] += upper_half(words[i, j]) * x


@numba.njit(inline="always", fastmath=True)
def _tanh(x: Any) -> Any:
    """Rational approximation within 4e-7 of tanh (the one of Eigen), made of what a CPU does eight at a time."""
    x = min(max(x, np.float32(-7.90531)), np.float32(7.90531))
    y = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * y + np.float32(2.00018790482477e-13)
    p = p * y + np.float32(-8.60467152213735e-11)
    p = p * y + np.float32(5.12229709037114e-08)
    p = p * y + np.float32(1.48572235717979e-05)
    p = p * y + np.float32(6.37261928875436e-04)
    p = p * y + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * y + np.float32(1.18534705686654e-04)
    q = q * y + np.float32(2.26843463243900e-03)
    q = q * y + np.float32(4.89352518554385e-03)
    return x * p / q


@numba.njit(inline="always", fastmath=True)
def _sigmoid(x: Any) -> Any:
    half = np.float32(0.5)
    return half + half * _tanh(half * x)


@numba.njit(cache=True, fastmath=True, nogil=True)
def condition_frame(
    around: F32,
    frame_in: F32,
    frame_in_bias: F32,
    frame_out: F32,
    frame_out_bias: F32,
    condition: F32,
    zeros: F32,
    out: F32,
) -> None:
    """One frame with its neighbours, (410,), -> every layer's gate offsets, `out` (L, 2C)."""
    hidden = np.empty(frame_in.shape[0], np.float32)
    matrix_vector(frame_in, around, frame_in_bias, hidden)
    for i in range(hidden.size):
        hidden[i] = np.tanh(hidden[i])
    code = np.empty(frame_out.shape[0], np.float32)
    matrix_vector(frame_out, hidden, frame_out_bias, code)
    for i in range(code.size):
        code[i] = np.tanh(code[i])
    for layer in range(condition.shape[0]):
        matrix_vector(condition[layer], code, zeros, out[layer])


@numba.njit(cache=True, fastmath=True)
def _draw(
    parameters: F32, mixtures: int, floor: float, temperature: float, seed: np.uint64, step: int, out: F32
) -> None:
    """Samples each band's mixture, more narrowly than it was learned; the randomness is a function of seed and step."""
    for band in range(BANDS):
        base = band * 3 * mixtures
        highest = parameters[base]
        for k in range(1, mixtures):
            highest = max(highest, parameters[base + k])
        total = 0.0
        for k in range(mixtures):
            total += np.exp(CHOICE_POWER * (parameters[base + k] - highest))
        bits = hash_position(seed, np.uint64(step * BANDS + band))
        threshold = total * np.float64(bits >> np.uint64(32)) / 4294967296.0
        chosen = mixtures - 1
        running = 0.0
        for k in range(mixtures):
            running += np.exp(CHOICE_POWER * (parameters[base + k] - highest))
            if running > threshold:
                chosen = k
                break
        uniform = (np.float64(bits & np.uint64(0xFFFFFFFF)) + 0.5) / 4294967296.0
        scale = BAND_SPREAD[band] * temperature * np.exp(max(parameters[base + 2 * mixtures + chosen], floor))
        value = parameters[base + mixtures + chosen] + scale * np.log(uniform / (1.0 - uniform))
        out[band] = min(max(value, -LOUDEST), LOUDEST)


@numba.njit(cache=True, fastmath=True, nogil=True)
def run_steps(
    input_weight: F32,
    input_bias: F32,
    now: U32,
    past: U32,
    gate_bias: F32,
    mix: U32,
    mix_bias: F32,
    head: F32,
    head_bias: F32,
    output: F32,
    output_bias: F32,
    dilations: I64,
    condition_before: F32,
    condition_after: F32,
    prior: F32,
    draft_width: int,
    first_offset: int,
    first_step: int,
    steps: int,
    mixtures: int,
    floor: float,
    temperature: float,
    seed: np.uint64,
    forced: F32,
    rings: F32,
    last: F32,
    parameters: F32,
    bands: F32,
) -> None:
    """Runs `steps` steps between two frame centres.

    condition_before, condition_after: (L, 2C) at the two centres; `first_offset` of 50 steps lie before the first.
    prior: (steps + draft_width - 1, 4), the draft's bands. forced: (steps, 4) heard instead of what is drawn, or
    (0, 4). rings: (sum of dilations, C) and last: (4,), the state. parameters: (steps, 48) and bands: (steps, 4) are
    filled.
    """
    layers = now.shape[0]
    channels = mix.shape[1]
    inputs = np.empty(input_weight.shape[1], np.float32)
    stream = np.empty(channels, np.float32)
    gates = np.empty(2 * channels, np.float32)
    passed = np.empty(channels, np.float32)
    # the residual stream and the sum of the skips behind each other: what a layer's `mix` adds to
    mixed = np.empty(2 * channels, np.float32)
    skips = np.empty(channels, np.float32)
    hidden = np.empty(channels, np.float32)
    for step in range(steps):
        for b in range(BANDS):
            inputs[b] = last[b]
        for i in range(draft_width):
            for b in range(BANDS):
                inputs[BANDS * (1 + i) + b] = prior[step + i, b]
        matrix_vector(input_weight, inputs, input_bias, stream)
        weight = np.float32(first_offset + step) / np.float32(STEPS_PER_FRAME)
        for i in range(channels):
            mixed[i] = stream[i]
            mixed[channels + i] = np.float32(0.0)
        ring = 0
        for layer in range(layers):
            dilation = dilations[layer]
            slot = ring + (first_step + step) % dilation
            ring += dilation
            for i in range(2 * channels):
                before = condition_before[layer, i]
                gates[i] = gate_bias[layer, i] + before + weight * (condition_after[layer, i] - before)
            _add_product(now[layer], mixed, gates, channels)
            _add_product(past[layer], rings[slot], gates, channels)
            for i in range(channels):
                rings[slot, i] = mixed[i]
                passed[i] = _tanh(gates[i]) * _sigmoid(gates[channels + i])
            for i in range(2 * channels):
                mixed[i] += mix_bias[layer, i]
            _add_product(mix[layer], passed, mixed, channels)
        for i in range(channels):
            skips[i] = mixed[channels + i] * _sigmoid(mixed[channels + i])
        matrix_vector(head, skips, head_bias, hidden)
        for i in range(channels):
            hidden[i] *= _sigmoid(hidden[i])
        matrix_vector(output, hidden, output_bias, parameters[step])
        _draw(parameters[step], mixtures, floor, temperature, seed, first_step + step, bands[step])
        for b in range(BANDS):
            last[b] = forced[step, b] if forced.shape[0] else bands[step, b]
