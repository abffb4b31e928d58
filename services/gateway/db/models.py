"""Tables. Every row belongs to a tenant; this version knows one, `local`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, ForeignKey, Index, String, Text, TypeDecorator
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


class SchemaInfo(Base):
    """One row: which version of the schema this database has."""

    __tablename__ = "schema_info"

    version: Mapped[int] = mapped_column(primary_key=True)


class Record(Base):
    """What every record of a tenant has; ids sort by creation."""

    __abstract__ = True

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default=LOCAL_TENANT, index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Consent(Record):
    """Somebody's yes to being cloned: whose, for what, until when, and who vouches for it."""

    __tablename__ = "consents"

    subject: Mapped[str] = mapped_column(String(16))  # voice | face
    who: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(16))  # attested | synthetic
    uses: Mapped[list[str]]
    evidence: Mapped[str] = mapped_column(Text)
    attested_by: Mapped[str | None] = mapped_column(String(200))
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Media(Record):
    """A file in the object store."""

    __tablename__ = "media"

    key: Mapped[str] = mapped_column(String(300))
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str] = mapped_column(String(100))
    purpose: Mapped[str] = mapped_column(String(32))  # see gateway.media.Purpose
    file_name: Mapped[str] = mapped_column(String(200))


class Voice(Record):
    """An enrolled voice: the speaker's profile and the sample it came from."""

    __tablename__ = "voices"
    __table_args__ = (Index("voices_by_name", "tenant", "name", unique=True),)

    name: Mapped[str] = mapped_column(String(100))
    consent_id: Mapped[str] = mapped_column(ForeignKey("consents.id"))
    sample_media_id: Mapped[str] = mapped_column(ForeignKey("media.id"))
    profile: Mapped[dict[str, Any]]
    quality: Mapped[dict[str, Any]]
    calibration: Mapped[dict[str, Any] | None]


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
    """One piece of work: what was asked, how it went, what it measured. Outlives the voice or face it used."""

    __tablename__ = "jobs"

    kind: Mapped[str] = mapped_column(String(16))  # speech | swap | live
    state: Mapped[str] = mapped_column(String(16))  # processing | succeeded | failed | canceled
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
