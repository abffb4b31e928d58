"""Settings of the vocoder stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.common.settings import StageSettings


class VocoderSettings(StageSettings):
    """The ports are the stage's usual ones. Nothing is batched here: each stream runs on one core of its own."""

    port: int = Field(default=50053, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int = Field(default=9103, ge=0, le=65535, description="Prometheus metrics; 0 takes a free port.")
    vocoder_engine: Literal["draft", "wavenet"] = Field(
        default="draft", description="The engine for calls that name none: the better one of the benchmark."
    )
