"""Taking a backup, while the gateway serves."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from services.common.errors import LikenessError
from services.common.store import ObjectStore
from services.gateway.backup.archive import FORMAT, HEADER, OBJECTS, TABLES, ArchiveWriter, BackupError, OnProgress
from services.gateway.backup.deletions import deleted_records
from services.gateway.backup.rows import kept_tables, read_rows
from services.gateway.db import Database, Media, head_revision
from services.gateway.db.models import utc_now


@dataclass(frozen=True)
class BackupReport:
    """What is in a backup. `damaged` has the keys of files that were not what their records say, and are left out."""

    path: Path
    size_bytes: int
    objects: int
    rows: int
    damaged: list[str]


def write_backup(
    database: Database,
    store: ObjectStore,
    path: Path,
    *,
    on_total: OnProgress = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> BackupReport:
    """Writes all records of one moment, and the files they name. The file appears when it is whole.

    Args:
        on_total: is told how many bytes the files have together.

    Raises:
        BackupError: the file cannot be written.
        SchemaVersionError: the database is of another version.
        LikenessError: STORE_UNAVAILABLE.
    """
    database.check_schema()
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # hashes of keys and secrets of webhooks are in it
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar, snapshot(database) as records:
                report = _write(database, records, store, ArchiveWriter(tar, on_progress), path, on_total)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        report = replace(report, size_bytes=path.stat().st_size)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return report


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """The database as it is now, however long it is looked at and whatever is written meanwhile."""
    if not database.is_sqlite:
        with database.engine.connect() as connection:
            options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            yield connection.execution_options(**options)
        return
    with tempfile.TemporaryDirectory(prefix="likeness-backup-") as folder:
        copy = Path(folder) / "likeness.db"
        with closing(sqlite3.connect(str(database.url.database))) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        frozen = Database(f"sqlite:///{copy}")
        try:
            with frozen.engine.connect() as connection:
                yield connection
        finally:
            frozen.close()


def _write(
    database: Database,
    records: Connection,
    store: ObjectStore,
    archive: ArchiveWriter,
    path: Path,
    on_total: OnProgress,
) -> BackupReport:
    on_total(int(records.scalar(select(func.coalesce(func.sum(Media.size_bytes), 0))) or 0))
    archive.add_json(
        HEADER,
        {
            "format": FORMAT,
            "version": version("likeness"),
            "revision": head_revision(),
            "created_at": utc_now().isoformat(),
        },
    )
    damaged, gone, objects = [], set(), 0
    for media in records.execute(select(Media.id, Media.key, Media.sha256, Media.size_bytes).order_by(Media.id)).all():
        if _add_object(store, archive, media.key, media.sha256):
            objects += 1
        elif _is_deleted(database, media.id):
            gone.add(media.id)
        else:
            damaged.append(media.key)
    deleted = set(deleted_records(store))
    rows = sum(_add_table(records, archive, table, gone, deleted) for table in kept_tables())
    archive.finish()
    return BackupReport(path, 0, objects, rows, damaged)


def _add_object(store: ObjectStore, archive: ArchiveWriter, key: str, sha256: str) -> bool:
    """Whether the object is there, and is what its record says."""
    try:
        if store.head(key).sha256 != sha256:
            return False
        with store.fetch(key) as content, content.open("rb") as file:
            summary = archive.add(f"{OBJECTS}{key}", file, content.stat().st_size)
    except LikenessError as error:
        if error.reason not in ("NOT_FOUND", "MEDIA_CHECKSUM_MISMATCH"):
            raise
        return False
    return bool(summary["sha256"] == sha256)


def _is_deleted(database: Database, media_id: str) -> bool:
    with database.session() as session:
        return session.get(Media, media_id) is None


def _add_table(
    records: Connection,
    archive: ArchiveWriter,
    table: Any,
    gone: Collection[str],
    deleted: Collection[tuple[str, str]],
) -> int:
    count = 0
    with tempfile.TemporaryFile() as file:
        for row in read_rows(records, table):
            if (table.name, row.get("id")) not in deleted and _survives(table.name, row, gone):
                file.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
                count += 1
        size_bytes = file.tell()
        file.seek(0)
        archive.add(f"{TABLES}{table.name}.jsonl", file, size_bytes)
    return count


def _survives(table: str, row: dict[str, Any], gone: Collection[str]) -> bool:
    """Whether the record is part of the backup; mentions of files that were deleted meanwhile are taken out of it."""
    if not gone:
        return True
    if table == "media":
        return row["id"] not in gone
    if table == "voices":
        return row["sample_media_id"] not in gone
    if table == "faces":
        return not any(picture["media"] in gone for picture in row["pictures"])
    for name in ("media_id", "target_media_id"):
        if row.get(name) in gone:
            row[name] = None
    return True
