"""Settings of the synthesizer stage."""

from __future__ import annotations

from pydantic import Field

from services.common.settings import StageSettings


class SynthesizerSettings(StageSettings):
    """The ports are the stage's usual ones. Nothing is batched here: each stream keeps a decoder state of its own."""

    port: int = Field(default=50052, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int = Field(default=9102, ge=0, le=65535, description="Prometheus metrics; 0 takes a free port.")
    threads: int = Field(default=1, ge=0, description="Threads per request; the graphs are too small to gain by more.")
