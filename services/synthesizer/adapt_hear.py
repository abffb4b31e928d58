"""The speaker encoder as something to learn through: how its embedding changes when classes of sounds are moved.

The speech is rendered and heard as it is; from there, an offset in log-mel bands multiplies the encoder's own bands as
a filter would. So neither the vocoder nor its features need derivatives, and what is learned is checked, and rendered
again, every few steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from services.common.audio import HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, FloatArray
from services.common.audio.mel import mel_edges_hz
from services.encoder.encoder import speech_of_synthesized
from services.encoder.features import (
    FFT_SAMPLES,
    MEL_BANDS,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    filterbank,
    mel_windows,
    window_starts,
)

HIDDEN = 256
LAYERS = 3


def read_network(path: Path) -> nn.Module:
    """The exported GE2E network (`services.encoder.export`) as a module: mel windows (N, 160, 40) -> (N, 256)."""
    constants = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(path)).graph.initializer}
    network = SpeakerModule()
    with torch.no_grad():
        for layer in range(LAYERS):
            weights = f"layer_{layer}"
            bias = constants[f"{weights}_b"][0]
            rows = {
                f"weight_ih_l{layer}": constants[f"{weights}_w"][0],
                f"weight_hh_l{layer}": constants[f"{weights}_r"][0],
                f"bias_ih_l{layer}": bias[: 4 * HIDDEN],
                f"bias_hh_l{layer}": bias[4 * HIDDEN :],
            }
            for name, array in rows.items():
                getattr(network.lstm, name).copy_(torch.from_numpy(_gates_as_torch(array)))
        network.linear.weight.copy_(torch.from_numpy(constants["linear_w"].copy()))
        network.linear.bias.copy_(torch.from_numpy(constants["linear_b"].copy()))
    return network.requires_grad_(False)


def _gates_as_torch(rows: FloatArray) -> FloatArray:
    """Rows of the four gates from ONNX's order (i, o, f, c) to PyTorch's (i, f, c, o)."""
    gate_i, gate_o, gate_f, gate_c = np.split(rows, 4)
    return np.concatenate([gate_i, gate_f, gate_c, gate_o])


class SpeakerModule(nn.Module):
    """GE2E (Wan et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MEL_BANDS, HIDDEN, LAYERS, batch_first=True)
        self.linear = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, windows: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(windows)
        raw = torch.relu(self.linear(hidden[-1]))
        return nn.functional.normalize(raw, dim=1, eps=1e-6)


@dataclass(frozen=True, eq=False)
class Heard:
    """A sentence as the encoder hears it.

    Attributes:
        windows: the encoder's mel power, shape (N, 160, 40).
        shares: share of each class of sounds in each of its frames, silence left out, shape (N, 160, 48).
    """

    windows: Tensor
    shares: Tensor


def hear(samples: FloatArray, shares: FloatArray) -> Heard:
    """What the encoder hears of synthesized samples (n,), and the classes (T, 48) of the frames they were made of.

    Raises:
        LikenessError: SPEECH_TOO_SHORT.
    """
    trimmed, frames_kept = speech_of_synthesized(samples)
    starts = window_starts(trimmed.size)
    positions = (np.arange(starts[-1] + WINDOW_FRAMES) * STEP_SAMPLES) // HOP_SAMPLES
    frames = np.minimum(frames_kept[np.minimum(positions, len(frames_kept) - 1)], len(shares) - 1)
    cut = np.stack([shares[frames[start : start + WINDOW_FRAMES]] for start in starts])
    return Heard(torch.from_numpy(mel_windows(trimmed)), torch.from_numpy(cut.astype(np.float32)))


@lru_cache(maxsize=1)
def bands_of_encoder() -> Tensor:
    """What an offset of each of our bands is to each of the encoder's, shape (80, 40); columns sum to 1."""
    centres_hz = mel_edges_hz()[1:-1]
    bins_hz = np.arange(FFT_SAMPLES // 2 + 1) * SAMPLE_RATE_HZ / FFT_SAMPLES
    positions = np.interp(bins_hz, centres_hz, np.arange(MEL_BINS))
    nearness = np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(MEL_BINS)))
    filters = filterbank()
    return torch.from_numpy((filters / filters.sum(axis=1, keepdims=True) @ nearness).T.astype(np.float32))


def moved(heard: Heard, log_offsets: Tensor) -> Tensor:
    """The windows when each class of sounds is moved by so many nepers in each band, (48, 80)."""
    return heard.windows * torch.exp(2.0 * (heard.shares @ (log_offsets @ bands_of_encoder())))
