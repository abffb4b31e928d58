"""Settings of the encoder stage."""

from __future__ import annotations

from pydantic import Field

from services.common.settings import StageSettings


class EncoderSettings(StageSettings):
    """The ports are the stage's usual ones. One thread: the LSTM's small matrices gain nothing from a second."""

    port: int = Field(default=50051, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int = Field(default=9101, ge=0, le=65535, description="Prometheus metrics; 0 takes a free port.")
    threads: int = Field(default=1, ge=0, description="Compute threads of the model; 0 means all cores.")
