"""The WaveNet in torch: what training optimises and what the fast engines must equal.

A causal stack of dilated gated layers with skip connections (van den Oord et al. 2016, arXiv:1609.03499) over the
four bands of a PQMF (as in DurIAN, arXiv:1909.01700), predicting a mixture of logistics per band (PixelCNN++,
arXiv:1701.05517). It reads the acoustic frames and, as a prior, the source-filter draft. Everything is in units of
the level that the mel promises for a band (see conditioning.py). Layers are [batch, step, channel] matrix products,
which are faster than conv1d on a CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.vocoder.config import STEPS_PER_FRAME, WaveNetConfig
from services.vocoder.pqmf import BANDS


def _delay(steps: Tensor, by: int) -> Tensor:
    """The same signal `by` steps later, zeros before it began, [batch, step, channel]."""
    return F.pad(steps, (0, 0, by, 0))[:, : steps.shape[1]]


def _between_centres(values: Tensor) -> Tensor:
    """Linear interpolation from frame centres [B, F + 1, C] to the band steps between them [B, F * 50, C]."""
    weight = torch.arange(STEPS_PER_FRAME, device=values.device, dtype=values.dtype) / STEPS_PER_FRAME
    steps = torch.lerp(values[:, :-1, None], values[:, 1:, None], weight[:, None])
    return steps.reshape(values.shape[0], -1, values.shape[2])


class Layer(nn.Module):
    """One gated layer of kernel 2; `mix` makes the residual and the skip from what passes the gate."""

    def __init__(self, config: WaveNetConfig, dilation: int) -> None:
        super().__init__()
        channels = config.channels
        self.dilation = dilation
        self.now = nn.Linear(channels, 2 * channels)
        self.past = nn.Linear(channels, 2 * channels, bias=False)
        self.condition = nn.Linear(config.condition_channels, 2 * channels, bias=False)
        self.mix = nn.Linear(channels, 2 * channels)
        with torch.no_grad():
            self.mix.weight.mul_(1 / math.sqrt(config.layers))

    def forward(self, steps: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.now(steps) + self.past(_delay(steps, self.dilation)) + _between_centres(self.condition(condition))
        signal, gate = gates.chunk(2, dim=-1)
        residual, skip = self.mix(torch.tanh(signal) * torch.sigmoid(gate)).chunk(2, dim=-1)
        return steps + residual, skip


class WaveNet(nn.Module):
    """Predicts every band's next value from its past, the frames and the draft."""

    def __init__(self, config: WaveNetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.frame_in = nn.Linear(config.frame_width, 2 * config.condition_channels)
        self.frame_out = nn.Linear(2 * config.condition_channels, config.condition_channels)
        self.input = nn.Linear(config.input_width, channels)
        self.layers = nn.ModuleList(Layer(config, dilation) for dilation in config.dilations)
        self.head = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, config.output_width)
        with torch.no_grad():
            self.output.weight.mul_(0.1)
            self.output.bias.zero_()
            by_parameter = self.output.bias.view(BANDS, 3, config.mixtures)
            by_parameter[:, 1] = torch.linspace(-1, 1, config.mixtures)
            by_parameter[:, 2] = -0.5

    def forward(self, history: Tensor, draft: Tensor, frames: Tensor) -> Tensor:
        """Distribution parameters [B, T, 48], laid out (band, weight | mean | log scale, component).

        history: [B, T, 4], each step's bands one step late: history[:, t] is what was heard at t - 1.
        draft: [B, T + before + after, 4]: the draft's bands, `draft_before` steps more in front, `draft_after` behind.
        frames: [B, T / 50 + 1 + 2 * context, 82], normalised: at the centres that enclose the steps, and around them.
        """
        config = self.config
        around = frames.unfold(1, 2 * config.frame_context + 1, 1).transpose(2, 3).flatten(2)
        condition = torch.tanh(self.frame_out(torch.tanh(self.frame_in(around))))
        prior = draft.unfold(1, config.draft_width, 1).transpose(2, 3).flatten(2)
        steps = self.input(torch.cat([history, prior], dim=-1))
        skips = torch.zeros_like(steps)
        for layer in self.layers:
            steps, skip = layer(steps, condition)
            skips = skips + skip
        parameters: Tensor = self.output(F.silu(self.head(F.silu(skips))))
        return parameters


def negative_log_likelihood(parameters: Tensor, target: Tensor, config: WaveNetConfig) -> Tensor:
    """In nats per band value, [B, T, 4], of targets [B, T, 4] under the predicted mixtures [B, T, 48]."""
    shaped = parameters.float().view(*parameters.shape[:-1], BANDS, 3, config.mixtures)
    log_weight = F.log_softmax(shaped[..., 0, :], dim=-1)
    mean = shaped[..., 1, :]
    log_scale = shaped[..., 2, :].clamp(min=config.log_scale_floor)
    z = (target.float()[..., None] - mean) * torch.exp(-log_scale)
    log_density = -z - log_scale - 2 * F.softplus(-z)
    return -torch.logsumexp(log_weight + log_density, dim=-1)
