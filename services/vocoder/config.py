"""The WaveNet's shape. Everything else about its size is derived from here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, SAMPLE_RATE_HZ
from services.vocoder.pqmf import BANDS

STEPS_PER_FRAME = HOP_SAMPLES // BANDS  # 50 band steps of 0.25 ms
STEPS_PER_SECOND = SAMPLE_RATE_HZ // BANDS


@dataclass(frozen=True)
class WaveNetConfig:
    """Hyperparameters that the weights depend on."""

    layers: int = 16
    dilation_cycle: int = 8  # dilation 1, 2, 4, ... 128, then again
    channels: int = 64  # of the residual stream, of each gate and of the skip path
    condition_channels: int = 64
    frame_context: int = 2  # acoustic frames seen before and after the present one
    draft_before: int = 3  # band steps of the draft seen before the present one
    draft_after: int = 8  # and after it
    mixtures: int = 4  # logistic components per band
    log_scale_floor: float = -6.0  # of a component, in units of the band's level

    def __post_init__(self) -> None:
        if min(self.layers, self.dilation_cycle, self.channels, self.condition_channels, self.mixtures) < 1:
            raise ValueError(f"every size of the WaveNet must be at least 1: {self}")
        if min(self.frame_context, self.draft_before, self.draft_after) < 0:
            raise ValueError(f"contexts cannot be negative: {self}")

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2 ** (layer % self.dilation_cycle) for layer in range(self.layers))

    @property
    def receptive_field(self) -> int:
        """Band steps of history that one prediction depends on."""
        return 1 + sum(self.dilations)

    @property
    def draft_width(self) -> int:
        return self.draft_before + 1 + self.draft_after

    @property
    def frame_width(self) -> int:
        """Numbers per frame that the conditioning network reads."""
        return (2 * self.frame_context + 1) * FRAME_CHANNELS

    @property
    def input_width(self) -> int:
        """Numbers per step: the last step's bands and the draft around this one."""
        return BANDS * (1 + self.draft_width)

    @property
    def output_width(self) -> int:
        """Weight, mean and log scale of each component of each band."""
        return BANDS * self.mixtures * 3

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
