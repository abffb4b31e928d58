"""Settings that every server shares, read from `LIKENESS_*` environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY_ROOT: Final = Path(__file__).resolve().parents[2]


class CommonSettings(BaseSettings):
    """What stages and gateway have in common."""

    model_config = SettingsConfigDict(env_prefix="LIKENESS_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default=Path(".likeness"), description="Folder of everything that is kept: database and media."
    )
    keys_dir: Path | None = Field(
        default=None, description="Folder of the keys that sign, seal and mark; unset: `keys` in data_dir."
    )
    tls_dir: Path | None = Field(
        default=None,
        description="Folder with tls.crt, tls.key and ca.crt (as in a Kubernetes TLS Secret), for mutual TLS between "
        "gateway, worker and stages; unset or empty: plain text.",
    )
    models_dir: Path = Field(
        default=REPOSITORY_ROOT / "models", description="Folder with manifest.json and the weights."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Prometheus metrics over HTTP; 0 takes a free port."
    )
    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://\S+)?$",
        description="OpenTelemetry collector for OTLP over HTTP, such as http://collector:4318; empty: no tracing. "
        "Needs the extra `tracing`.",
    )
    trace_share: float = Field(
        default=1.0, ge=0, le=1, description="Of requests that come without a trace of their own."
    )

    store_url: str = Field(
        default="", description="Empty or folder path, or s3://host:port for MinIO and any S3 endpoint."
    )
    store_bucket: str = "likeness"
    store_access_key: str = ""
    store_secret_key: str = ""
    store_region: str = "us-east-1"
    store_secure: bool = Field(default=True, description="TLS towards the S3 endpoint.")
    store_encryption: Literal["", "s3", "kms"] = Field(
        default="", description="Of what is written to S3: the bucket's default, keys of S3 itself, or a KMS key."
    )
    store_kms_key_id: str = Field(default="", description="With store_encryption=kms.")
    store_presign: bool = Field(
        default=True, description="Clients reach the S3 endpoint; otherwise files go through the gateway."
    )
    store_public_url: str = Field(
        default="", description="Address of the S3 endpoint as clients see it, when it is another than store_url."
    )

    @field_validator("tls_dir", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return value or None  # Path("") would be the working directory

    @property
    def resolved_keys_dir(self) -> Path:
        return self.keys_dir or self.data_dir / "keys"


class StageSettings(CommonSettings):
    """What the four model stages have in common; each stage's own class sets the ports."""

    grants: Literal["required", "off"] = Field(
        default="required",
        description="required: calls without a grant of a trusted gateway are refused. off: benchmarks of one stage.",
    )
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    health_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="With tls_dir: gRPC health alone, in plain text, for probes that speak no TLS; 0: none.",
    )
    threads: int = Field(default=0, ge=0, description="Compute threads of the model; 0 means all cores.")
    max_concurrency: int = Field(default=2, ge=1, description="Requests worked on at the same time.")
    max_queue_size: int = Field(default=32, ge=0, description="Requests admitted and waiting beyond those worked on.")
    max_batch_size: int = Field(default=16, ge=1)
    max_queue_delay_microseconds: int = Field(default=2000, ge=0)
    default_deadline_s: float = Field(default=120.0, gt=0, description="For calls that carry no deadline of their own.")
    drain_wait_s: float = Field(
        default=0.5, ge=0, description="After SIGTERM: NOT_SERVING this long before refusing calls."
    )
    drain_grace_s: float = Field(default=30.0, ge=0, description="Then running calls may take this long to finish.")
    max_connection_age_s: float = Field(
        default=300.0, gt=0, description="Makes clients resolve again and find new replicas."
    )
