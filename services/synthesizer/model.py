"""Symbols -> normalised acoustic frames: a Non-Attentive Tacotron (Shen et al. 2020, arXiv:2010.04301).

An encoder reads the symbols; a predictor says how long each lasts; Gaussian upsampling lays the encoded symbols out
in time; an autoregressive decoder writes three frames per step; a post-net of convolutions refines them. There is no
attention, so nothing can be skipped or repeated. Conditions are the speaking style (which recorded or generated voice
the speech was learned from) and the speaker embedding, which is often hidden in training.

Shapes: B utterances, L symbols, T frames, J = ceil(T / 3) decoder steps. It needs torch; serving does not use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from services.common.audio import FRAME_CHANNELS
from services.common.profile import EMBEDDING_SIZE
from services.synthesizer.text.symbols import SYMBOLS, WORD_EDGES

TIMING_FEATURES: Final = 2  # how far into its symbol a step is, and how long the symbol


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; stored beside its weights."""

    styles: tuple[str, ...] = ("rms", "slt", "awb", "kal16")
    symbol_count: int = len(SYMBOLS)
    width: int = 192
    convolutions: int = 3
    kernel: int = 5
    style_width: int = 16
    speaker_width: int = 48
    duration_width: int = 128
    prenet_width: int = 128
    prenet_dropout: float = 0.5
    decoder_width: int = 256
    reduction: int = 3
    postnet_width: int = 128
    postnet_convolutions: int = 4
    dropout: float = 0.1
    speaker_dropout: float = 0.5  # of the whole embedding
    speaker_noise: float = 0.4  # added to the embedding, whose numbers have a variance of about one

    @property
    def postnet_reach_frames(self) -> int:
        """Frames to either side that a frame of the post-net depends on."""
        return self.postnet_convolutions * (self.kernel // 2)


class ConvolutionBlock(nn.Module):
    """Convolution over time, layer norm, ReLU, dropout, around a shortcut. (B, L, width) -> the same."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.convolution((x * mask).transpose(1, 2)).transpose(1, 2)
        refined: Tensor = x + self.dropout(functional.relu(self.norm(y)))
        return refined


class Conditions(nn.Module):
    """Style and speaker embedding -> one vector (B, style_width + speaker_width)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.style = nn.Embedding(len(config.styles), config.style_width)
        self.speaker = nn.Linear(EMBEDDING_SIZE, config.speaker_width, bias=False)
        self.dropout = config.speaker_dropout
        self.noise = config.speaker_noise

    def forward(self, style: Tensor, speaker: Tensor) -> Tensor:
        """`speaker` (B, 256) is the L2-normalised embedding; all zeros where it is not known."""
        speaker = speaker * math.sqrt(EMBEDDING_SIZE)
        if self.training:
            speaker = speaker + self.noise * torch.randn_like(speaker)
            speaker = speaker * (torch.rand(len(speaker), 1, device=speaker.device) >= self.dropout)
        return torch.cat([self.style(style), torch.tanh(self.speaker(speaker))], dim=-1)


class Encoder(nn.Module):
    """Symbols and conditions -> encoded symbols (B, L, width), log(1 + duration) (B, L) and range (B, L)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        conditions = config.style_width + config.speaker_width
        self.symbols = nn.Embedding(config.symbol_count, width, padding_idx=0)
        self.edges = nn.Embedding(WORD_EDGES, width)
        self.convolutions = nn.ModuleList(
            ConvolutionBlock(width, config.kernel, config.dropout) for _ in range(config.convolutions)
        )
        self.recurrent = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.join = nn.Linear(width + conditions, width)
        self.duration_recurrent = nn.GRU(width, config.duration_width // 2, batch_first=True, bidirectional=True)
        self.duration = nn.Linear(config.duration_width, 1)
        self.range = nn.Linear(width, 1)
        nn.init.constant_(self.duration.bias, math.log(1 + 6.0))  # the average symbol lasts six frames
        nn.init.constant_(self.range.bias, 0.54)  # softplus(0.54) is about 1

    def _run(self, recurrent: nn.GRU, x: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return recurrent(x)[0]  # type: ignore[no-any-return]
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(recurrent(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    def forward(
        self, symbols: Tensor, edges: Tensor, conditions: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`lengths` (B,) are needed where utterances are padded."""
        mask = (symbols > 0).unsqueeze(-1).float()
        x = self.symbols(symbols) + self.edges(edges)
        for convolution in self.convolutions:
            x = convolution(x, mask)
        x = self._run(self.recurrent, x * mask, lengths)
        spread = conditions.unsqueeze(1).expand(-1, x.shape[1], -1)
        x = torch.tanh(self.join(torch.cat([x, spread], dim=-1)))
        durations = self.duration(self._run(self.duration_recurrent, x, lengths)).squeeze(-1)
        return x, durations, functional.softplus(self.range(x)).squeeze(-1)


def upsample(encoded: Tensor, durations: Tensor, ranges: Tensor, mask: Tensor, steps: Tensor, reduction: int) -> Tensor:
    """Gaussian upsampling: encoded symbols (B, L, width) -> step inputs (B, J, width + 2).

    Args:
        durations: of the symbols, in frames (B, L).
        ranges: widths of the Gaussians relative to the durations (B, L).
        mask: 1 for symbols, 0 for padding (B, L).
        steps: indices of the decoder steps wanted (J,).
    """
    ends = torch.cumsum(durations * mask, dim=1)
    centres = ends - 0.5 * durations
    sigma = ranges * (0.25 * durations + 0.6)
    times = (steps.to(durations.dtype) + 0.5) * reduction
    offsets = times[None, :, None] - centres[:, None, :]
    scores = -0.5 * (offsets / sigma[:, None, :]) ** 2 - torch.log(sigma)[:, None, :]
    weights = torch.softmax(scores.masked_fill(mask[:, None, :] == 0, -1e9), dim=-1)
    inside = torch.sum(weights * offsets / (durations[:, None, :] + 1.0), dim=-1, keepdim=True)
    length = torch.sum(weights * torch.log1p(durations)[:, None, :], dim=-1, keepdim=True)
    return torch.cat([weights @ encoded, torch.clamp(inside, -2.0, 2.0), length], dim=-1)


class Decoder(nn.Module):
    """Step inputs and the frame before -> the next `reduction` frames."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.reduction = config.reduction
        self.prenet_dropout = config.prenet_dropout
        width, inputs = config.decoder_width, config.width + TIMING_FEATURES
        self.prenet_1 = nn.Linear(FRAME_CHANNELS, config.prenet_width)
        self.prenet_2 = nn.Linear(config.prenet_width, config.prenet_width)
        self.recurrent_1 = nn.GRU(config.prenet_width + inputs, width, batch_first=True)
        self.recurrent_2 = nn.GRU(width, width, batch_first=True)
        self.output = nn.Linear(width + inputs, config.reduction * FRAME_CHANNELS)

    def prenet(self, frames: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Bottleneck on the frame before. Dropout is on in serving too, then with given masks (0 or 1 / keep)."""
        x = functional.relu(self.prenet_1(frames))
        x = functional.dropout(x, self.prenet_dropout) if masks is None else x * masks[0]
        x = functional.relu(self.prenet_2(x))
        return functional.dropout(x, self.prenet_dropout) if masks is None else x * masks[1]

    def steps(
        self, inputs: Tensor, prenet: Tensor, states: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Frames (B, J * reduction, 82) of consecutive steps, and the states after them."""
        first, second = states if states is not None else (None, None)
        x, first = self.recurrent_1(torch.cat([prenet, inputs], dim=-1), first)
        y, second = self.recurrent_2(x, second)
        frames = self.output(torch.cat([x + y, inputs], dim=-1))
        return frames.reshape(len(frames), -1, FRAME_CHANNELS), (first, second)

    def teach(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Frames when each step is told the true frame before: inputs (B, J, ...), targets (B, J * reduction, 82)."""
        before = functional.pad(targets[:, self.reduction - 1 :: self.reduction][:, :-1], (0, 0, 1, 0))
        if self.training:
            before = before + 0.1 * torch.randn_like(before)
        return self.steps(inputs, self.prenet(before), None)[0]

    def generate(self, inputs: Tensor) -> Tensor:
        """Frames when each step is told what the step before wrote."""
        before = inputs.new_zeros(len(inputs), 1, FRAME_CHANNELS)
        states: tuple[Tensor, Tensor] | None = None
        out = []
        for j in range(inputs.shape[1]):
            frames, states = self.steps(inputs[:, j : j + 1], self.prenet(before), states)
            before = frames[:, -1:]
            out.append(frames)
        return torch.cat(out, dim=1)


class Postnet(nn.Module):
    """Convolutions over frames that add what is missing. (B, T, 82) -> (B, T, 82)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, layers = config.postnet_width, config.postnet_convolutions
        sizes = [FRAME_CHANNELS, *[width] * (layers - 1), FRAME_CHANNELS]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], config.kernel, padding=config.kernel // 2) for i in range(layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        last = self.convolutions[-1]
        assert isinstance(last, nn.Conv1d) and last.bias is not None  # noqa: S101
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames.transpose(1, 2)
        for i, convolution in enumerate(self.convolutions):
            y = convolution(x)
            if i == len(self.convolutions) - 1:
                break
            y = self.dropout(functional.gelu(y))
            x = y if i == 0 else x + y
        refined: Tensor = frames + y.transpose(1, 2)
        return refined


class Synthesizer(nn.Module):
    """The whole network; serving uses its parts one by one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.conditions = Conditions(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.postnet = Postnet(config)

    def step_inputs(
        self,
        symbols: Tensor,
        edges: Tensor,
        style: Tensor,
        speaker: Tensor,
        durations: Tensor,
        lengths: Tensor,
        step_count: int,
    ) -> tuple[Tensor, Tensor]:
        """Step inputs (B, J, ...) at given durations, and predicted log(1 + duration) (B, L)."""
        encoded, predicted, ranges = self.encoder(symbols, edges, self.conditions(style, speaker), lengths)
        steps = torch.arange(step_count, device=symbols.device)
        mask = (symbols > 0).float()
        return upsample(encoded, durations, ranges, mask, steps, self.config.reduction), predicted

    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.parameters())
