"""The network of a person model: one encoder for both people, a decoder for each.

The design is that of the first public face swapper (deepfakes, 2017) at half its width, with a mask as fourth channel
of the answer. The encoder has to describe pose, expression and light in the same way for both, because both decoders
work from its description; what is peculiar to a person stays in the person's decoder. Needs torch: training and
export only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

SLOPE: Final = 0.1  # of the leaky rectifiers
MIDDLE, CONTRAST = 0.5, 4.0  # aligned faces differ little: what they have in common is taken off, the rest enlarged


@dataclass(frozen=True)
class PersonConfig:
    """Sizes of the network.

    Attributes:
        size: side of the crop in pixels, a multiple of 16.
        width: channels of the first layer; the original had 128. Eight times as many numbers describe a face.
    """

    size: int = 64
    width: int = 64

    def __post_init__(self) -> None:
        if self.size % 16 or self.size < 32:
            raise ValueError(f"size must be a multiple of 16, 32 or more; got {self.size}")


def _keep_variance(layer: nn.Module) -> None:
    """Starts a layer so that faces differ as much after it as before (He et al. 2015).

    With torch's own start ten layers shrink the differences to nothing, and hundreds of steps go by in which every
    answer is the mean face.
    """
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(
            layer.weight, SLOPE, nonlinearity="leaky_relu" if isinstance(layer, nn.Conv2d) else "linear"
        )
        nn.init.zeros_(layer.get_parameter("bias"))


def _halve(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), nn.LeakyReLU(SLOPE))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs * 4, 3, padding=1)
    return nn.Sequential(convolution, nn.LeakyReLU(SLOPE), nn.PixelShuffle(2))


class Encoder(nn.Module):
    """(n, 3, s, s) -> (n, 4 width, s / 8, s / 8)."""

    def __init__(self, config: PersonConfig) -> None:
        super().__init__()
        width, self.side = config.width, config.size // 16
        self.down = nn.Sequential(
            _halve(3, width), _halve(width, 2 * width), _halve(2 * width, 4 * width), _halve(4 * width, 8 * width)
        )
        self.inner = nn.Linear(8 * width * self.side**2, 8 * width)
        self.outer = nn.Linear(8 * width, 8 * width * self.side**2)
        self.up = _double(8 * width, 4 * width)

    def forward(self, face: Tensor) -> Tensor:
        code = self.inner(self.down((face - MIDDLE) * CONTRAST).flatten(1))
        planes: Tensor = self.up(self.outer(code).unflatten(1, (-1, self.side, self.side)))
        return planes


class Decoder(nn.Module):
    """(n, 4 width, s / 8, s / 8) -> colours (n, 3, s, s) and mask (n, 1, s, s), 0 to 1."""

    def __init__(self, config: PersonConfig) -> None:
        super().__init__()
        width = config.width
        self.up = nn.Sequential(_double(4 * width, 2 * width), _double(2 * width, width), _double(width, width // 2))
        self.last = nn.Conv2d(width // 2, 4, 5, padding=2)

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        answer = torch.sigmoid(self.last(self.up(planes)))
        return answer[:, :3], answer[:, 3:]


class PersonModel(nn.Module):
    """Both people; BGR pixels from 0 to 1."""

    def __init__(self, config: PersonConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.source = Decoder(config)
        self.target = Decoder(config)
        self.apply(_keep_variance)

    def forward(self, source: Tensor, target: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Faces of both -> the same faces again, each by the own decoder."""
        planes = self.encoder(torch.cat([source, target]))
        return self.source(planes[: len(source)]), self.target(planes[len(source) :])

    def swap(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """Anybody's face (n, 3, s, s) -> the source's face doing the same, and its mask."""
        answer: tuple[Tensor, Tensor] = self.source(self.encoder(face))
        return answer

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())
