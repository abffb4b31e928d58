"""Settings of the gateway, read from `LIKENESS_*` environment variables."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field

from services.common.settings import CommonSettings


class GatewaySettings(CommonSettings):
    """Where the gateway listens, where its stages are, and how long each kind of request may take."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    http_port: int = Field(default=8000, ge=0, le=65535)
    allow_unauthenticated: bool = Field(
        default=False, description="This version has no API keys: listening beyond loopback lets everybody in."
    )
    workers: int = Field(default=1, ge=1, description="gunicorn processes.")
    threads: int = Field(default=16, ge=1, description="Requests handled at the same time by each process.")
    graceful_timeout_s: int = Field(default=30, ge=1, description="After SIGTERM running requests may take this long.")

    database_url: str = Field(default="", description="Empty is SQLite in data_dir; any SQLAlchemy URL.")

    encoder_target: str = "127.0.0.1:50051"
    synthesizer_target: str = "127.0.0.1:50052"
    vocoder_target: str = "127.0.0.1:50053"
    faceswap_target: str = "127.0.0.1:50054"

    enrolment_deadline_s: float = Field(default=180.0, gt=0)
    speech_deadline_s: float = Field(default=300.0, gt=0)
    swap_deadline_s: float = Field(default=60.0, gt=0)
    health_deadline_s: float = Field(default=1.0, gt=0)

    max_upload_bytes: int = Field(default=50 * 1024 * 1024, gt=0, description="Of a request without a film.")
    max_film_bytes: int = Field(default=1024**3, gt=0, description="Of a swap's request; films are kept on disk.")
    film_deadline_s: float = Field(default=6 * 3600.0, gt=0, description="Of a whole film, from its acceptance.")
    film_workers: int = Field(default=2, ge=1, description="Films worked on at the same time by each process.")
    film_queue_size: int = Field(default=8, ge=0, description="Films accepted and waiting beyond those worked on.")
    film_parallel_segments: int = Field(default=2, ge=1, description="Segments of a film that stages work on at once.")
    segment_seconds: float = Field(default=5.0, gt=0, description="Length of a segment.")
    segment_deadline_s: float = Field(default=600.0, gt=0, description="Of one attempt at a segment.")
    segment_attempts: int = Field(default=6, ge=1, description="How often a segment is tried while stages fail.")
    live_sessions: int = Field(default=4, ge=0, description="Live swaps at the same time in each process; 0: none.")
    consent_interval_s: float = Field(default=2.0, gt=0, description="How often running work looks at its consents.")
    complete_below_characters: int = Field(
        default=120,
        ge=0,
        description="Shorter inputs are finished before they are sent, unless streaming is asked for.",
    )
    calibrate: bool = Field(default=True, description="Find the formant warp of a voice when it is enrolled.")
    calibration_threads: int = Field(default=2, ge=1)
    calibration_rounds: int = Field(
        default=12, ge=0, description="Of the search that follows the formant warp, 12 trials each; 0 leaves it out."
    )

    @property
    def resolved_database_url(self) -> str:
        if self.database_url:
            return self.database_url
        return f"sqlite:///{self.data_dir.resolve() / 'likeness.db'}"

    @property
    def spool_dir(self) -> Path:
        """Where uploads lie while their request lasts, and films while they are joined."""
        return self.data_dir / "spool"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def refusal_to_listen(self) -> str | None:
        """Why these settings must not be served, or None when they may."""
        if self.is_loopback or self.allow_unauthenticated:
            return None
        return (
            f"LIKENESS_HOST={self.host} would let anyone on the network clone voices and swap faces: this version has "
            "no API keys. Keep LIKENESS_HOST=127.0.0.1, or put your own authentication in front and set "
            "LIKENESS_ALLOW_UNAUTHENTICATED=true."
        )
