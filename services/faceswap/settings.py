"""Settings of the face swap stage."""

from __future__ import annotations

from pydantic import Field

from services.common.settings import StageSettings


class FaceSwapSettings(StageSettings):
    """The ports are the stage's usual ones. Nothing is batched here: requests run beside each other."""

    port: int = Field(default=50054, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int = Field(default=9104, ge=0, le=65535, description="Prometheus metrics; 0 takes a free port.")
    threads: int = Field(default=1, ge=0, description="Compute threads of one network run; they are small.")
    providers: tuple[str, ...] = Field(
        default=(), description="Of neural engines, best first: tensorrt, cuda, cpu; empty takes cuda or else cpu."
    )
    people_cache_mb: int = Field(default=256, ge=0, description="Memory of people prepared for earlier requests.")
    max_live_streams: int = Field(
        default=1, ge=0, description="Live streams at the same time; the other places are for pictures and films."
    )
    live_idle_s: float = Field(default=30.0, gt=0, description="A live stream without a frame for so long is ended.")
    live_max_s: float = Field(
        default=3600.0,
        gt=0,
        description="A live stream is ended after so long, or at its deadline; without one, after default_deadline_s.",
    )
