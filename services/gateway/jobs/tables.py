"""The queue's own tables, beside the gateway's in the same database: on PostgreSQL in the schema `dbos`."""

from __future__ import annotations

import logging
from typing import Any, Final

from dbos import DBOS
from sqlalchemy import Engine, event

from services.gateway.db import Database

logging.getLogger("dbos").addHandler(logging.NullHandler())  # its messages go where all others go
logging.getLogger("dbos").setLevel(logging.WARNING)
_POOL_SIZE: Final = 10


def prepare_tables(database: Database) -> None:
    """Makes the queue's tables, or brings them to the version that the installed library needs.

    Several processes may call it at the same time.
    """
    DBOS.migrate(queue_url(database))


def queue_url(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def open_queue_engine(database: Database) -> Engine:
    """Connections for the library's own use: on SQLite its transactions take the write lock at their beginning, so that
    they wait for others instead of failing in the middle."""
    engine = Database(queue_url(database), pool_size=_POOL_SIZE).engine
    if database.is_sqlite:
        event.listen(engine, "connect", _begin_immediately)
    return engine


def _begin_immediately(connection: Any, _record: object) -> None:
    connection.isolation_level = "IMMEDIATE"
