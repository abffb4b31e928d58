"""How the likeness of synthesized speech to a speaker changes with its spectrum: the encoder's derivative, in numpy.

An offset in log-mel bands multiplies the encoder's own bands as a filter would, so that from speech as it is heard no
derivative of the vocoder is needed. The three LSTM layers are run forward with their gates kept, then backward through
time (Werbos 1990); a sentence's windows go together. ONNX Runtime, which serves the embeddings, has no derivatives, and
PyTorch is not in this stage's image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper
from threadpoolctl import threadpool_limits

from services.common.audio import HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, FloatArray
from services.common.audio.mel import mel_edges_hz
from services.common.errors import LikenessError
from services.encoder.encoder import speech_of_synthesized
from services.encoder.features import (
    FFT_SAMPLES,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    filterbank,
    mel_windows,
    window_starts,
)
from services.encoder.model import average

LAYERS: Final = 3
HIDDEN: Final = 256
_SMALLEST: Final = 1e-6  # of a length that is divided by


@dataclass(frozen=True, eq=False)
class Guidance:
    """How like a speaker some speech is, and how to make it more so.

    Attributes:
        similarity: cosine of the speech's embedding to the target.
        embedding: of the speech, L2-normalised, shape (256,).
        gradient: by how much the cosine grows per neper in each log-mel band of each acoustic frame, shape (T, 80).
    """

    similarity: float
    embedding: FloatArray
    gradient: FloatArray


@dataclass(frozen=True, eq=False)
class _Layer:
    """Weights, with gates in ONNX's order: input, output, forget, cell.

    Attributes:
        into: shape (inputs, 1024).
        again: of the state before, shape (256, 1024).
        bias: shape (1024,).
    """

    into: FloatArray
    again: FloatArray
    bias: FloatArray


@dataclass(frozen=True, eq=False)
class _Trace:
    """What the way back needs of a layer: after activation, time first.

    Attributes:
        gates: shape (160, N, 1024).
        cells: shape (161, N, 256); the first is 0.
        hidden: shape (161, N, 256); the first is 0.
    """

    gates: FloatArray
    cells: FloatArray
    hidden: FloatArray


class GradientNetwork:
    """The exported GE2E network (`services.encoder.export`) with derivatives. May be used from any thread.

    The process's BLAS is left with one thread: in products as small as these, several wait for each other.
    """

    def __init__(self, path: Path) -> None:
        threadpool_limits(limits=1, user_api="blas")
        constants = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer}

        def layer(number: int) -> _Layer:
            into, again, bias = (constants[f"layer_{number}_{part}"][0] for part in "wrb")
            return _Layer(
                np.ascontiguousarray(into.T), np.ascontiguousarray(again.T), bias[: 4 * HIDDEN] + bias[4 * HIDDEN :]
            )

        self._layers = [layer(number) for number in range(LAYERS)]
        self._linear = constants["linear_w"]
        self._linear_bias = constants["linear_b"]

    def guide(self, samples: FloatArray, target: FloatArray) -> Guidance:
        """How like a speaker with the embedding `target` (256,) synthesized 16 kHz samples (n,) are.

        T in the answer is n / 200, rounded up: the acoustic frames that the samples were made of.

        Raises:
            LikenessError: SPEECH_TOO_SHORT with less than a second of speech.
        """
        if not samples.size:
            raise LikenessError("SPEECH_TOO_SHORT", "There are no samples; at least a second of speech is needed.")
        trimmed, kept = speech_of_synthesized(samples)
        windows = mel_windows(trimmed)
        embeddings, similarity, gradient = self.similarity(windows, target)
        # A change of d nepers multiplies the power by exp(2 d).
        per_window = 2.0 * (gradient * windows) @ bands_of_encoder().T
        starts = window_starts(trimmed.size)
        positions = (np.arange(starts[-1] + WINDOW_FRAMES) * STEP_SAMPLES) // HOP_SAMPLES
        frame_count = -(-samples.size // HOP_SAMPLES)
        frames = np.minimum(kept[np.minimum(positions, len(kept) - 1)], frame_count - 1)
        by_frame = np.zeros((frame_count, MEL_BINS), np.float32)
        for start, change in zip(starts, per_window, strict=True):
            np.add.at(by_frame, frames[start : start + WINDOW_FRAMES], change)
        return Guidance(similarity, average(embeddings), by_frame)

    def similarity(self, windows: FloatArray, target: FloatArray) -> tuple[FloatArray, float, FloatArray]:
        """Embeddings (N, 256) of mel windows (N, 160, 40), their mean's cosine to `target`, and its derivative."""
        traces: list[_Trace] = []
        inputs = [np.ascontiguousarray(windows.transpose(1, 0, 2))]
        for layer in self._layers:
            traces.append(_forward(layer, inputs[-1]))
            inputs.append(traces[-1].hidden[1:])
        raw = traces[-1].hidden[-1] @ self._linear.T + self._linear_bias
        positive = np.maximum(raw, 0.0)
        lengths = np.maximum(np.linalg.norm(positive, axis=1, keepdims=True), _SMALLEST)
        embeddings = positive / lengths
        total = embeddings.sum(axis=0)
        size = max(float(np.linalg.norm(total)), _SMALLEST)
        unit = total / size
        person = target / max(float(np.linalg.norm(target)), _SMALLEST)
        cosine = float(unit @ person)
        toward = (person - cosine * unit) / size  # the same for each window
        back = (toward - embeddings * (embeddings @ toward)[:, None]) / lengths * (raw > 0.0)
        into_state = np.zeros_like(traces[-1].hidden[1:])
        into_state[-1] = back @ self._linear
        for layer, trace in zip(reversed(self._layers), reversed(traces), strict=True):
            into_state = _backward(layer, trace, into_state)
        return embeddings, cosine, np.ascontiguousarray(into_state.transpose(1, 0, 2))


def _forward(layer: _Layer, inputs: FloatArray) -> _Trace:
    """Runs a layer over inputs (160, N, inputs)."""
    steps, count, _ = inputs.shape
    gates = (inputs.reshape(steps * count, -1) @ layer.into + layer.bias).reshape(steps, count, 4 * HIDDEN)
    cells = np.zeros((steps + 1, count, HIDDEN), np.float32)
    hidden = np.zeros((steps + 1, count, HIDDEN), np.float32)
    for step in range(steps):
        gate = gates[step]
        gate += hidden[step] @ layer.again
        squashed = gate[:, : 3 * HIDDEN]
        squashed *= 0.5  # the sigmoid by way of the hyperbolic tangent, which does not overflow
        np.tanh(gate, out=gate)
        squashed += 1.0
        squashed *= 0.5
        opened, put_out, kept, offered = np.split(gate, 4, axis=1)
        np.multiply(kept, cells[step], out=cells[step + 1])
        cells[step + 1] += opened * offered
        np.multiply(put_out, np.tanh(cells[step + 1]), out=hidden[step + 1])
    return _Trace(gates, cells, hidden)


def _backward(layer: _Layer, trace: _Trace, into_hidden: FloatArray) -> FloatArray:
    """Derivative by a layer's inputs (160, N, inputs), of that by its states (160, N, 256)."""
    steps, count, _ = into_hidden.shape
    opened, put_out, kept, offered = np.split(trace.gates, 4, axis=2)
    bent = np.tanh(trace.cells[1:])
    # What each gate's input does to the cell or, for the output gate, to the state; all steps at once.
    slopes = np.concatenate(
        [
            offered * opened * (1.0 - opened),
            bent * put_out * (1.0 - put_out),
            trace.cells[:-1] * kept * (1.0 - kept),
            opened * (1.0 - offered * offered),
        ],
        axis=2,
    )
    to_cell = put_out * (1.0 - bent * bent)
    again = np.ascontiguousarray(layer.again.T)
    state = np.zeros((count, HIDDEN), np.float32)
    cell = np.zeros((count, HIDDEN), np.float32)
    out = slopes[:, :, HIDDEN : 2 * HIDDEN]
    for step in range(steps - 1, -1, -1):
        state += into_hidden[step]
        cell += state * to_cell[step]
        slope = slopes[step]
        slope[:, :HIDDEN] *= cell
        out[step] *= state
        slope[:, 2 * HIDDEN : 3 * HIDDEN] *= cell
        slope[:, 3 * HIDDEN :] *= cell
        cell *= kept[step]
        state = slope @ again
    flat = slopes.reshape(steps * count, 4 * HIDDEN) @ layer.into.T
    return np.asarray(flat.reshape(steps, count, -1), np.float32)


@lru_cache(maxsize=1)
def bands_of_encoder() -> FloatArray:
    """What an offset of each of our bands is to each of the encoder's, shape (80, 40); columns sum to 1."""
    centres_hz = mel_edges_hz()[1:-1]
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / FFT_SAMPLES
    positions = np.interp(bins_hz, centres_hz, np.arange(MEL_BINS))
    nearness = np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(MEL_BINS)))
    filters = filterbank()
    return np.asarray((filters / filters.sum(axis=1, keepdims=True) @ nearness).T, np.float32)
