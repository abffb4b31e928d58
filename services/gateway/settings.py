"""Settings of the gateway, read from `LIKENESS_*` environment variables."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from services.common.settings import CommonSettings
from services.common.store import MAX_OBJECT_BYTES

Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[A-Za-z0-9.:\[\]-]+)$")]
# Signatures that only the issuer can make: never none, never HS*.
OidcAlgorithm = Literal["RS256", "ES256", "EdDSA", "Ed25519"]


class GatewaySettings(CommonSettings):
    """Where the gateway listens, where its stages are, and how long each kind of request may take."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    http_port: int = Field(default=8000, ge=0, le=65535)
    auth: Literal["auto", "keys"] = Field(
        default="auto",
        description="auto: on loopback no key is needed, elsewhere one is. keys: always.",
    )
    allow_unauthenticated: bool = Field(
        default=False, description="With auth=auto, no key is needed anywhere: something in front asks who is there."
    )
    bootstrap_key: str = Field(
        default="", description="An API key of the local tenant with all scopes, made at the start when it is absent."
    )
    oidc_issuer: str = Field(default="", description="Takes JSON web tokens of this issuer, too; empty: API keys only.")
    oidc_audience: str = Field(default="", description="Which the tokens must name; needed with an issuer.")
    oidc_jwks_url: str = Field(default="", description="Where the issuer's keys are; empty: as its discovery says.")
    oidc_algorithms: tuple[OidcAlgorithm, ...] = Field(default=("RS256", "ES256", "EdDSA", "Ed25519"), min_length=1)
    oidc_tenant_claim: str = Field(default="tenant", min_length=1, description="Claim with the id of the tenant.")
    oidc_scope_claim: str = Field(
        default="scope", min_length=1, description="Claim with the scopes, as a list or separated by spaces."
    )
    requests_per_minute: int = Field(
        default=6000, ge=0, description="Of each key, unless its tenant's limits say otherwise; 0 is without limit."
    )
    concurrent_jobs: int = Field(
        default=500, ge=0, description="Of each tenant, queued and processing, without items of batches; 0: no limit."
    )
    media_ttl_days: float = Field(
        default=0.0,
        ge=0,
        description="Age at which files are deleted, unless the tenant's limits say otherwise; 0: never.",
    )
    failed_attempts_per_minute: int = Field(
        default=30, ge=1, description="Requests with wrong or without credentials that an address may make."
    )
    public_verifications_per_minute: int = Field(
        default=0, ge=0, description="Files that an address may verify without a key; 0: none."
    )
    trusted_proxies: int = Field(
        default=0, ge=0, le=10, description="How many proxies before the gateway set X-Forwarded-For, -Proto and -Host."
    )
    rate_limit_storage: str = Field(
        default="memory://", description="Where requests are counted: memory:// of each process, or redis://host:port."
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(), description="Origins whose pages may use the API, such as https://app.example.org; * is any."
    )
    workers: int = Field(default=1, ge=1, description="gunicorn processes.")
    threads: int = Field(default=28, ge=1, description="Requests handled at the same time by each process.")
    work_places: int = Field(
        default=8,
        ge=1,
        description="Of these, at most so many speeches, swaps and enrolments; what is beyond is refused at once.",
    )
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
    max_large_upload_bytes: int = Field(
        default=MAX_OBJECT_BYTES, gt=0, le=MAX_OBJECT_BYTES, description="Of a file that is uploaded in parts."
    )
    upload_part_bytes: int = Field(
        default=16 * 1024 * 1024, ge=5 * 1024 * 1024, le=512 * 1024 * 1024, description="Of each part but the last."
    )
    upload_ttl_s: float = Field(
        default=86400.0, gt=0, description="An upload that is not completed by then is deleted."
    )
    signed_url_ttl_s: int = Field(
        default=900, ge=1, le=7 * 86400, description="So long a URL works that needs no API key."
    )
    public_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#]+)?$",
        description="Address of the gateway in signed URLs; empty: as the request has it.",
    )
    film_deadline_s: float = Field(default=6 * 3600.0, gt=0, description="Of a whole film, from its acceptance.")
    film_parallel_segments: int = Field(default=2, ge=1, description="Segments of a film that stages work on at once.")
    segment_seconds: float = Field(default=5.0, gt=0, description="Length of a segment.")
    segment_deadline_s: float = Field(default=600.0, gt=0, description="Of one attempt at a segment.")
    segment_attempts: int = Field(
        default=6,
        ge=1,
        description="How often a segment may break off. Stages that are down or full are waited for, and not counted.",
    )
    speech_chunk_characters: int = Field(
        default=600, ge=1, description="A queued speech is made in chunks of whole sentences, of this length at most."
    )
    speech_parallel_chunks: int = Field(default=2, ge=1, description="Chunks of a speech that stages work on at once.")
    background_speech_deadline_s: float = Field(default=3600.0, gt=0, description="Of a queued speech.")
    background_swap_deadline_s: float = Field(default=3600.0, gt=0, description="Of a queued picture.")
    batch_deadline_s: float = Field(default=24 * 3600.0, gt=0, description="Of a whole batch.")
    batch_parallel_items: int = Field(default=4, ge=1, description="Items of a batch that are worked on at once.")

    worker_id: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,80}$",
        description="Of a worker, the same after a restart; empty: host name.",
    )
    worker_jobs: int = Field(default=2, ge=1, description="Jobs that a worker does at the same time.")
    tenant_parallel_jobs: int = Field(
        default=4, ge=1, description="Jobs of a tenant that are worked on at once, unless its limits say otherwise."
    )
    job_queue_size: int = Field(default=1000, ge=0, description="Jobs that wait; further ones are refused.")
    queue_poll_s: float = Field(default=0.2, gt=0, description="How often a worker looks for jobs.")
    process_beat_s: float = Field(default=3.0, gt=0, description="How often a gateway or worker says that it is alive.")
    process_stale_s: float = Field(
        default=15.0, gt=0, description="Without a word for so long, it counts as gone: others take over its jobs."
    )
    failed_job_ttl_s: float = Field(
        default=86400.0, ge=0, description="So long a failed or canceled job keeps what a retry needs."
    )
    job_ttl_days: float = Field(
        default=0.0, ge=0, description="Ended jobs and their results are deleted after so many days; 0: never."
    )
    job_watchers: int = Field(
        default=6,
        ge=0,
        description="Connections of each process that wait for jobs: events, and Prefer: wait. Half of the threads at "
        "most.",
    )
    batch_items: int = Field(default=10_000, ge=1, description="Items of a batch.")
    max_batch_bytes: int = Field(default=50 * 1024 * 1024, gt=0, description="Of a batch's file.")
    webhook_timeout_s: float = Field(default=10.0, gt=0, description="Of one attempt to deliver a webhook.")
    webhook_http_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts to which webhooks may go without TLS; their addresses must be public still."
    )
    webhook_allow_loopback: bool = Field(
        default=False, description="Webhooks may go to this machine itself, also without TLS; for development."
    )
    live_sessions: int = Field(default=4, ge=0, description="Live swaps at the same time in each process; 0: none.")
    consent_policy: str = Field(
        default="",
        description="File (YAML or JSON) that says which consents are enough for what, or the JSON itself; empty: "
        "built-in.",
    )
    challenge_ttl_s: int = Field(
        default=600, ge=30, le=3600, description="So long a person has for the phrase or the turns they are asked for."
    )
    protected_voice_similarity: float = Field(
        default=0.86,
        gt=0,
        le=1,
        description="From this cosine of two speaker embeddings on, a voice counts as that of a protected person.",
    )
    protected_face_distance: float = Field(
        default=0.55,
        gt=0,
        lt=1,
        description="Up to this distance of two face descriptors, a face counts as that of a protected person.",
    )
    protected_refresh_s: float = Field(
        default=2.0, ge=0, description="How often a process looks whether people were registered or removed."
    )
    consent_interval_s: float = Field(default=2.0, gt=0, description="How often running work looks at its consents.")
    complete_below_characters: int = Field(
        default=120,
        ge=0,
        description="Shorter inputs are finished before they are sent, unless streaming is asked for.",
    )
    c2pa_sign: str = Field(
        default="",
        pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
        description="module:function that signs manifests with a key kept elsewhere; c2pa.pem then holds certificates.",
    )
    calibrate: bool = Field(default=True, description="Find the formant warp of a voice when it is enrolled.")
    calibration_threads: int = Field(default=2, ge=1)
    calibration_rounds: int = Field(
        default=30, ge=0, description="Of the search that follows the formant warp, 2 sentences each; 0 leaves it out."
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

    @model_validator(mode="after")
    def _check_issuer(self) -> Self:
        if self.oidc_issuer and not self.oidc_audience:
            raise ValueError("with oidc_issuer, set oidc_audience: else tokens for other services would be taken")
        for url in (self.oidc_issuer, self.oidc_jwks_url):
            parts = urlsplit(url)
            is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
            if url and parts.scheme != "https" and not (parts.scheme == "http" and is_here):
                raise ValueError(f"oidc: {url} is not https, and whoever is between could sign tokens")
        return self

    @property
    def is_open(self) -> bool:
        """Whether requests without credentials are those of the local tenant."""
        return self.auth == "auto" and (self.is_loopback or self.allow_unauthenticated)
