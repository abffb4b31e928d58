"""Restoring a backup into an empty database and store, of the same kind as before or of another."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.common.store import ObjectStore
from services.gateway.backup.archive import (
    BLOCK_BYTES,
    OBJECTS,
    TABLES,
    BackupError,
    OnProgress,
    check_archive,
    members,
)
from services.gateway.backup.deletions import delete_again
from services.gateway.backup.rows import INSERTED_AT_ONCE, continue_counters, insert_rows, kept_tables, row_of
from services.gateway.db import LOCAL_TENANT, Database, Job, Media, Process, Upload, head_revision
from services.gateway.jobs.processes import database_now
from services.gateway.jobs.queue import JobQueue
from services.gateway.jobs.records import QUEUED, UNFINISHED, add_event, end_job_in
from services.gateway.jobs.tables import prepare_tables
from services.gateway.settings import GatewaySettings

_PREFIXES: Final = ("media/", "uploads/", "work/")


@dataclass(frozen=True)
class RestoreReport:
    """What was restored: of the jobs, which begin again, and which had somebody waiting and have failed.

    `deleted_again` are the records that were deleted on request since the backup was taken.
    """

    objects: int
    rows: int
    jobs_queued: int
    jobs_failed: int
    deleted_again: int = 0


def verify_backup(path: Path, on_progress: OnProgress = lambda _: None) -> dict[str, Any]:
    """Reads all of a backup; its header. Raises BackupError when it is damaged or of another version."""
    header = check_archive(path, on_progress)
    if header["revision"] != head_revision():
        raise BackupError(
            f"{path} was written by Likeness {header['version']}, whose tables are at revision {header['revision']}; "
            f"this version has {head_revision()}. Restore it with that version, and upgrade then."
        )
    return header


def restore_backup(
    settings: GatewaySettings,
    database: Database,
    store: ObjectStore,
    path: Path,
    *,
    force: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> RestoreReport:
    """Verifies a backup, writes its files and then, in one transaction, its records.

    What the store says was deleted on request, since the backup was taken, is deleted again.

    Args:
        force: delete what is there. Without it, everything must be empty.

    Raises:
        BackupError: it is damaged or of another version; something is there already; a gateway or worker is running.
        LikenessError: STORE_UNAVAILABLE.
    """
    verify_backup(path, on_progress)
    database.migrate()
    prepare_tables(database)
    _require_alone(settings, database)
    if not force:
        _require_empty(database, store)
    else:
        for prefix in _PREFIXES:
            store.delete_prefix(prefix)
    objects = _put_objects(path, store, on_progress)
    queue = JobQueue(settings, database)
    try:
        with database.session() as session:
            for table in reversed(kept_tables()):
                session.execute(delete(table))
            rows = sum(_insert(session, name, content) for name, content in members(path) if name.startswith(TABLES))
            continue_counters(session)
            _abort_uploads(session)
        deleted = delete_again(database, store)
        queued, failed = _begin_again(database, queue)
    finally:
        queue.close()
    return RestoreReport(objects, rows, queued, failed, deleted)


def _require_alone(settings: GatewaySettings, database: Database) -> None:
    with database.session() as session:
        limit = database_now(session) - timedelta(seconds=settings.process_stale_s)
        running = list(session.scalars(select(Process.id).where(Process.beat_at >= limit)))
    if running:
        raise BackupError(f"Stop what works with this database first: {', '.join(running)}.")


def _require_empty(database: Database, store: ObjectStore) -> None:
    with database.session() as session:
        for table in kept_tables():
            query = select(func.count()).select_from(table)
            if table.name == "tenants":
                query = query.where(table.c.id != LOCAL_TENANT)
            if found := session.scalar(query):
                raise BackupError(f"The database has {found} {table.name} already. --force deletes all that is there.")
    if next(iter(store.keys("media/")), None) is not None:
        raise BackupError("The object store has files already. --force deletes all that is there.")


def _put_objects(path: Path, store: ObjectStore, on_progress: OnProgress) -> int:
    """Writes the files, with the content types that their records have."""
    kinds: dict[str, str] = {}
    for name, content in members(path):
        if name == f"{TABLES}{Media.__tablename__}.jsonl":
            rows = (row_of(Media.__table__, line) for line in content)  # type: ignore[arg-type]
            kinds = {row["key"]: row["content_type"] for row in rows}
    count = 0
    for name, content in members(path):
        key = name.removeprefix(OBJECTS)
        if key != name and key in kinds:
            with tempfile.NamedTemporaryFile() as file:
                while block := content.read(BLOCK_BYTES):
                    file.write(block)
                    on_progress(len(block))
                file.flush()
                store.put_file(key, Path(file.name), kinds[key])
            count += 1
    return count


def _insert(session: Session, name: str, content: IO[bytes]) -> int:
    tables = {table.name: table for table in kept_tables()}
    table = tables[name.removeprefix(TABLES).removesuffix(".jsonl")]
    count = 0
    for lines in _groups(content):
        rows = [row_of(table, line) for line in lines]
        insert_rows(session, table, rows)
        count += len(rows)
    return count


def _abort_uploads(session: Session) -> None:
    """Their parts are not in the backup."""
    session.execute(update(Upload).where(Upload.state.in_(("open", "completing"))).values(state="aborted"))


def _begin_again(database: Database, queue: JobQueue) -> tuple[int, int]:
    """Puts unfinished jobs into the queue from their beginning, and fails those that somebody waited for."""
    with database.session() as session:
        waiting = Job.state.in_(UNFINISHED), Job.batch_id.is_(None)
        queued = session.execute(select(Job.id, Job.tenant).where(*waiting, Job.workflow_id.is_not(None))).all()
        lost = list(session.scalars(select(Job.id).where(*waiting, Job.workflow_id.is_(None))))
    names = {tenant: queue.prepare(tenant) for tenant in {row.tenant for row in queued}}
    anew: dict[str, Any] = {"state": QUEUED, "started_at": None, "owner": None, "progress": {"phase": "waiting"}}
    for row in queued:
        with database.session() as session:
            job = session.get_one(Job, row.id)
            for name, value in anew.items():
                setattr(job, name, value)
            job.attempt += 1
            # Not an id that the queue may have seen before the restoration.
            job.workflow_id = f"{job.id}-{job.attempt}-{secrets.token_hex(4)}"
            items = update(Job).where(Job.batch_id == job.id, Job.state.in_(UNFINISHED))
            session.execute(items.values(**anew))
            add_event(session, job.id, "state", {"status": QUEUED, "attempt": job.attempt})
            session.flush()
            queue.put(session, job, names[job.tenant])
    why = LikenessError("DRAINING", "It was being answered when the backup was taken; ask again.")
    for job_id in lost:
        with database.session() as session:
            end_job_in(session, job_id, "failed", figures={}, error=why)
    return len(queued), len(lost)


def _groups(content: IO[bytes]) -> Iterator[list[bytes]]:
    lines = iter(content)
    while group := list(islice(lines, INSERTED_AT_ONCE)):
        yield group
