"""The audit as a chain: every entry's hash is over the entry and the hash of the one before it.

Who changes, removes, inserts or reorders entries afterwards breaks the chain at that place (`check`). Writers
take turns for the whole database, whichever gateway or worker they are in, so that the chain has one end; an entry and
its place in the chain are written in one transaction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Table, insert, select, text, update

from services.gateway.db import AuditEntry, Database
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id

FIRST_PREVIOUS: Final = "0" * 64  # what the first entry has before it
CHAINED_FIELDS: Final = (
    "id", "tenant", "created_at", "actor", "action", "object_id", "request_id", "status", "details", "seq", "previous",
)  # fmt: skip
AT_ONCE: Final = 500
_CHAIN_LOCK: Final = 0x61756469  # of PostgreSQL's advisory locks
_LENGTHS: Final = {"actor": 100, "action": 64, "object_id": 100, "request_id": 128}
_INSERT: Final = insert(cast(Table, AuditEntry.__table__))
_HEAD: Final = (
    select(AuditEntry.seq, AuditEntry.sha256)
    .where(AuditEntry.seq.is_not(None))
    .order_by(AuditEntry.seq.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Entry:
    """Who did what to which object.

    Attributes:
        status: as of HTTP: below 400 it was done, else refused or failed.
        details: what JSON can hold; no secrets and no names of people, for the audit is never deleted.
    """

    tenant: str
    actor: str
    action: str
    object_id: str | None
    request_id: str
    status: int
    details: Mapping[str, Any] | None = None


def append_entry(database: Database, entry: Entry) -> None:
    """Writes an entry at the end of the chain, now. Raises what SQLAlchemy raises."""
    with database.engine.connect() as connection, connection.begin():
        lock_chain(connection)
        append_entries_in(connection, [entry])


def append_entries_in(connection: Connection, entries: Sequence[Entry]) -> None:
    """The same in the caller's transaction, which has locked the chain, or written something else: on SQLite that is
    the same, and on PostgreSQL the lock is taken here. It should be the last that the transaction waits for."""
    if not entries:
        return
    if connection.dialect.name == "postgresql":
        lock_chain(connection)  # nothing is waited for when it is held already
    seq, previous = head(connection)
    rows = []
    for entry in entries:
        rows.append(chained(_row(entry), seq + 1, previous))
        seq, previous = rows[-1]["seq"], rows[-1]["sha256"]
    connection.execute(_INSERT, rows)


def chain_unchained(database: Database) -> int:
    """Chains entries that have no place yet, oldest first: those from before there was a chain; how many."""
    count = 0
    while True:
        with database.engine.connect() as connection, connection.begin():
            if connection.scalar(select(AuditEntry.id).where(AuditEntry.seq.is_(None)).limit(1)) is None:
                return count
        with database.engine.connect() as connection, connection.begin():
            lock_chain(connection)
            seq, previous = head(connection)
            unchained = select(AuditEntry).where(AuditEntry.seq.is_(None)).order_by(AuditEntry.id).limit(AT_ONCE)
            for row in connection.execute(unchained).mappings().all():
                entry = chained(dict(row), seq + 1, previous)
                seq, previous = entry["seq"], entry["sha256"]
                place = {name: entry[name] for name in ("seq", "previous", "sha256")}
                connection.execute(update(AuditEntry).where(AuditEntry.id == row["id"]).values(**place))
                count += 1


def lock_chain(connection: Connection) -> None:
    """Until the transaction ends, nobody else writes to the chain."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def head(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last entry; 0 and zeros where there is none."""
    found = connection.execute(_HEAD).first()
    return (0, FIRST_PREVIOUS) if found is None or found[0] is None else (found[0], str(found[1]))


def chained(entry: dict[str, Any], seq: int, previous: str) -> dict[str, Any]:
    """The entry with its place in the chain."""
    placed = {**entry, "seq": seq, "previous": previous}
    return {**placed, "sha256": entry_sha256(placed)}


def _row(entry: Entry) -> dict[str, Any]:
    """The entry's columns, without its place in the chain."""
    row: dict[str, Any] = {"id": new_id("audit"), "created_at": utc_now()}
    for column in fields(entry):
        row[column.name] = getattr(entry, column.name)
    for name, length in _LENGTHS.items():
        row[name] = None if row[name] is None else row[name][:length]
    if entry.details is not None:
        row["details"] = json.loads(json.dumps(entry.details, allow_nan=False))
    return row


def entry_sha256(entry: Mapping[str, Any]) -> str:
    """Over the entry as JSON: keys sorted, no spaces, ASCII, times in UTC with microseconds."""
    content = {name: _portable(entry[name]) for name in CHAINED_FIELDS}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _portable(value: Any) -> Any:
    return value.astimezone(UTC).isoformat(timespec="microseconds") if isinstance(value, datetime) else value
