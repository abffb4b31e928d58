"""Settings of the vocoder stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.common.settings import StageSettings


class VocoderSettings(StageSettings):
    """The ports are the stage's usual ones. A stream mostly waits for its frames, so many are worked on at a time."""

    port: int = Field(default=50053, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int = Field(default=9103, ge=0, le=65535, description="Prometheus metrics; 0 takes a free port.")
    max_concurrency: int = Field(default=16, ge=1, description="Streams worked on at the same time.")
    max_batch_size: int = Field(
        default=16, ge=1, description="Streams that one core, or the GPU, takes through the WaveNet together, at most."
    )
    vocoder_engine: Literal["draft", "wavenet"] = Field(
        default="draft", description="The engine for calls that name none: the better one of the benchmark."
    )
    vocoder_device: Literal["cpu", "cuda", "auto"] = Field(
        default="cpu",
        description="Where the WaveNet computes. cuda: on an NVIDIA GPU, with PyTorch (extra `train`); auto: there "
        "if both are found, else on the CPU.",
    )
