"""Records as JSON, the same whichever database they come from and go to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Table, func, insert, select, text
from sqlalchemy.orm import Session

from services.gateway.db import Base, IdempotencyRecord
from services.gateway.db.models import UtcDateTime

# Who is alive is nobody's memory.
_LEFT_OUT: Final = ("processes",)
INSERTED_AT_ONCE: Final = 500


def kept_tables() -> list[Table]:
    """In an order in which no record names one that is not there yet."""
    return [table for table in Base.metadata.sorted_tables if table.name not in _LEFT_OUT]


def read_rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    """Every record of a table, in order of its primary key, as a JSON object."""
    query = select(table).order_by(*table.primary_key.columns)
    if table.name == IdempotencyRecord.__tablename__:
        query = query.where(table.c.status.is_not(None))  # requests in flight are not done
    for row in connection.execution_options(yield_per=INSERTED_AT_ONCE).execute(query):
        yield {name: _portable(value) for name, value in row._mapping.items()}


def row_of(table: Table, line: bytes) -> dict[str, Any]:
    """The record of a line. Raises ValueError or KeyError for a line that is none."""
    value: Mapping[str, Any] = json.loads(line)
    return {column.name: _native(column.type, value[column.name]) for column in table.columns}


def insert_rows(session: Session, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(table), rows)


def continue_counters(session: Session) -> None:
    """PostgreSQL's counters of ids do not notice what was inserted with an id."""
    if session.get_bind().dialect.name != "postgresql":
        return
    for table in kept_tables():
        for column in table.primary_key.columns:
            if column.autoincrement is True:
                highest = session.scalar(select(func.max(column))) or 0
                counter = session.scalar(
                    text("SELECT pg_get_serial_sequence(:table, :column)"), {"table": table.name, "column": column.name}
                )
                session.execute(
                    text("SELECT setval(:counter, :next, false)"), {"counter": counter, "next": highest + 1}
                )


def _portable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _native(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat(value)
    return base64.b64decode(value) if isinstance(kind, LargeBinary) else value
