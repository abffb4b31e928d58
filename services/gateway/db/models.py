"""Tables. Every row of a user belongs to a tenant; `local` is the one that is there from the beginning."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LOCAL_TENANT: Final = "local"


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, always UTC and always aware, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """What all tables share."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[str]: JSON, list[dict[str, Any]]: JSON}


class Tenant(Base):
    """Whose records they are: nobody of one tenant learns that another's exist.

    `limits` holds what differs from the settings: "requests_per_minute", "concurrent_jobs",
    "parallel_jobs", "media_ttl_days".
    """

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    limits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    webhook_secret: Mapped[str] = mapped_column(String(100))  # whsec_ and base64, as Standard Webhooks has it
    webhook_old_secret: Mapped[str | None] = mapped_column(String(100))  # messages carry its signature, too,
    webhook_old_secret_until: Mapped[datetime | None]  # until then
    disabled_at: Mapped[datetime | None]


class Record(Base):
    """What every record of a tenant has; ids sort by creation."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default=LOCAL_TENANT, index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class ApiKey(Record):
    """Who may do what. The key itself is shown once; here are its beginning and a hash of the whole."""

    __tablename__ = "api_keys"

    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(24), unique=True)
    sha256: Mapped[str] = mapped_column(String(64))  # of a random 256-bit secret, which needs no slow hash
    scopes: Mapped[list[str]]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Consent(Record):
    """Somebody's yes to being cloned: whose, for what, until when, and what shows it.

    `template` is sealed (gateway.consents.templates): the embedding or descriptor of who gave the proof.
    """

    __tablename__ = "consents"

    subject: Mapped[str] = mapped_column(String(16))  # voice | face
    who: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(16))  # spoken | filmed | attested | synthetic
    uses: Mapped[list[str]]
    languages: Mapped[list[str]] = mapped_column(default=list, server_default="[]")  # none: any
    recorded_by: Mapped[str] = mapped_column(String(100), default="", server_default="")  # actor, as in the audit
    evidence_media_id: Mapped[str | None] = mapped_column(String(64))
    template: Mapped[bytes | None] = mapped_column(LargeBinary)
    proof: Mapped[dict[str, Any] | None]  # what was measured when it was given
    receipt: Mapped[str | None] = mapped_column(Text)  # compact JWS
    evidence: Mapped[str] = mapped_column(Text)
    attested_by: Mapped[str | None] = mapped_column(String(200))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ConsentChallenge(Record):
    """A task for one person, once: words to say, or turns of the head to make."""

    __tablename__ = "consent_challenges"

    subject: Mapped[str] = mapped_column(String(16))  # voice | face
    who: Mapped[str] = mapped_column(String(200))
    uses: Mapped[list[str]]
    languages: Mapped[list[str]]
    task: Mapped[dict[str, Any]]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class RecordingHash(Base):
    """One hash of a recording that was here (gateway.consents.fingerprint): of a consent or of a voice's sample.

    It outlives both, so that a proof cannot be given twice; no voice can be recognised or made from it.
    """

    __tablename__ = "recording_hashes"

    object_id: Mapped[str] = mapped_column(String(64), primary_key=True)  # of the consent, voice or protected person
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)  # hops of 16 ms
    hash: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, index=True)


class ProtectedPerson(Record):
    """Who must never be cloned, by anybody: `tenant` is who registered it. `template` is sealed."""

    __tablename__ = "protected"

    subject: Mapped[str] = mapped_column(String(16))  # voice | face
    who: Mapped[str] = mapped_column(String(200))
    template: Mapped[bytes] = mapped_column(LargeBinary)
    proof: Mapped[dict[str, Any]]
    removed_at: Mapped[datetime | None]


class Mark(Base):
    """The number that an output carries invisibly, and whose output that is. It outlives the output."""

    __tablename__ = "marks"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # 1 to 2**32 - 1
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    job_id: Mapped[str] = mapped_column(String(64), index=True)
    consent_id: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))  # speech | picture | film | live
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    media_id: Mapped[str | None] = mapped_column(String(64))
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)  # of the file that was released


class Media(Record):
    """A file in the object store."""

    __tablename__ = "media"

    key: Mapped[str] = mapped_column(String(300))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(32))  # see gateway.media.Purpose
    file_name: Mapped[str] = mapped_column(String(200))
    job_id: Mapped[str | None] = mapped_column(String(64), index=True)  # which made it
    expires_at: Mapped[datetime | None] = mapped_column(index=True)


class Upload(Record):
    """A large file that arrives in parts. `parts` has of each: "number", "size_bytes", "sha256", the store's "etag"."""

    __tablename__ = "uploads"

    state: Mapped[str] = mapped_column(String(16))  # open | completing | completed | aborted
    purpose: Mapped[str] = mapped_column(String(32))  # see gateway.large_uploads.UploadPurpose
    file_name: Mapped[str] = mapped_column(String(200))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    part_size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))  # of the whole, when the client said it
    key: Mapped[str] = mapped_column(String(300))
    store_upload_id: Mapped[str | None] = mapped_column(String(1024))  # of a multipart upload on S3
    parts: Mapped[list[dict[str, Any]]]
    media_id: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Voice(Record):
    """An enrolled voice: the speaker's profile and the sample it came from.

    `adaptation` is what installing one measured: "network", "clips", "similarity", "similarity_before"; its weights are
    in the profile, which changes only with `adapted_at`.
    """

    __tablename__ = "voices"
    __table_args__ = (Index("voices_by_name", "tenant", "name", unique=True),)

    name: Mapped[str] = mapped_column(String(100))
    consent_id: Mapped[str] = mapped_column(ForeignKey("consents.id"))
    sample_media_id: Mapped[str] = mapped_column(ForeignKey("media.id"))
    profile: Mapped[dict[str, Any]]
    quality: Mapped[dict[str, Any]]
    calibration: Mapped[dict[str, Any] | None]
    adapted_at: Mapped[datetime | None]
    adaptation: Mapped[dict[str, Any] | None]


class Face(Record):
    """An enrolled face: the pictures of one person it is taken from.

    Of each picture: "media" (its id), "width_px", "height_px", "faces_found", "score", "box", and "distance", the dlib
    distance to the person's middle descriptor (null for a single picture).
    """

    __tablename__ = "faces"
    __table_args__ = (Index("faces_by_name", "tenant", "name", unique=True),)

    name: Mapped[str | None] = mapped_column(String(100))
    consent_id: Mapped[str] = mapped_column(ForeignKey("consents.id"))
    pictures: Mapped[list[dict[str, Any]]]


class Job(Record):
    """One piece of work: what was asked, how it went, what it measured. Outlives the voice or face it used.

    Work in the background waits in a queue and has `progress`; all other is answered while its caller waits, and is
    `owner`'s, the process that answers.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_by_state", "state", "tenant"),
        Index("jobs_by_batch", "batch_id", "batch_index"),
        Index("jobs_by_expiry", "expires_at"),
    )

    kind: Mapped[str] = mapped_column(String(16))  # speech | swap | live | batch
    state: Mapped[str] = mapped_column(String(16))  # queued | processing | succeeded | failed | canceled
    request_id: Mapped[str] = mapped_column(String(128))
    consent_id: Mapped[str] = mapped_column(String(64))
    likeness_id: Mapped[str] = mapped_column(String(64))  # of the voice or face
    target_media_id: Mapped[str | None] = mapped_column(String(64))
    media_id: Mapped[str | None] = mapped_column(String(64))
    finished_at: Mapped[datetime | None]
    parameters: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any] | None]  # of work in the background; null where the caller waits for the end
    error: Mapped[dict[str, Any] | None]
    owner: Mapped[str | None] = mapped_column(String(100), index=True)  # id of a process
    started_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]  # record and result are deleted then
    priority: Mapped[int] = mapped_column(Integer, default=0, server_default="0")  # lower is earlier
    attempt: Mapped[int] = mapped_column(Integer, default=1, server_default="1")  # counts retries of a failed job
    workflow_id: Mapped[str | None] = mapped_column(String(100))
    webhook_url: Mapped[str | None] = mapped_column(String(2048))
    batch_id: Mapped[str | None] = mapped_column(String(64))  # the job of kind batch that this is an item of
    batch_index: Mapped[int | None] = mapped_column(Integer)
    custom_id: Mapped[str | None] = mapped_column(String(200))
    traceparent: Mapped[str | None] = mapped_column(String(64))  # of the request that asked for it (W3C trace context)
    mark: Mapped[int | None] = mapped_column(BigInteger)  # the number that its output carries, see Mark


class JobEvent(Base):
    """What happened to a job, for those who watch it: its ids are the ids of server-sent events."""

    __tablename__ = "job_events"
    __table_args__ = (Index("job_events_by_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    kind: Mapped[str] = mapped_column(String(32))  # state | progress
    data: Mapped[dict[str, Any]]


class WebhookDelivery(Record):
    """The outbox: a message that is sent until its receiver has taken it, or for too long."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index("webhook_deliveries_due", "delivered_at", "next_at"),)

    job_id: Mapped[str] = mapped_column(String(64), index=True)
    url: Mapped[str] = mapped_column(String(2048))
    body: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime | None]  # null when it is not tried any more
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


class IdempotencyRecord(Base):
    """The answer to a request that carried an Idempotency-Key; without a status while the request is in flight."""

    __tablename__ = "idempotency_records"

    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    fingerprint: Mapped[str] = mapped_column(String(64))  # SHA-256 of method, path and body
    owner: Mapped[str] = mapped_column(String(100))  # id of the process that answers
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class AuditEntry(Record):
    """Who did what to which object. Never changed, never deleted by the API.

    Entries are chained: `sha256` is over the entry and `previous`, the hash of the one before it in `seq`.
    """

    __tablename__ = "audit"
    __table_args__ = (Index("audit_by_seq", "seq", unique=True),)

    actor: Mapped[str] = mapped_column(String(100))  # id of an API key, subject of a token, or `local`
    action: Mapped[str] = mapped_column(String(64))  # operation id of the API
    object_id: Mapped[str | None] = mapped_column(String(100))
    request_id: Mapped[str] = mapped_column(String(128))
    status: Mapped[int]
    details: Mapped[dict[str, Any] | None]
    seq: Mapped[int | None] = mapped_column(BigInteger)
    previous: Mapped[str | None] = mapped_column(String(64))
    sha256: Mapped[str | None] = mapped_column(String(64))


class Process(Base):
    """A gateway or worker that is alive: its `beat_at` moves. Who has lost its row, or its token, must stop working."""

    __tablename__ = "processes"

    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # gateway | worker
    token: Mapped[str] = mapped_column(String(64))  # new at each start, so that two with one id find out
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    beat_at: Mapped[datetime] = mapped_column(index=True)
