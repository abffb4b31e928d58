"""The database: engine, sessions, and bringing its schema to the version that this code works with."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.orm import Session

MIGRATIONS: Final = Path(__file__).parent / "migrations"
SQLITE_BUSY_MS: Final = 10_000
WAL_LIMIT_PAGES: Final = 8192  # 32 MiB: from there on who commits writes the log back, and waits for the disk
_BUSY_PAUSE_S: Final = 0.01
_PRIMARY_CODE: Final = 0xFF  # of SQLite's result codes: the rest says more exactly why
_FIRST_REVISION: Final = "0001"
_UNTRACKED_VERSION: Final = 2  # of the databases made before there were migrations; the first one is their schema
_MIGRATION_LOCK: Final = 0x6C696B65  # of PostgreSQL's advisory locks: one process migrates, others wait for it


class SchemaVersionError(RuntimeError):
    """The database is of another version of Likeness."""


class Database:
    """Engine and sessions. Made in each process for itself, after the fork."""

    def __init__(self, url: str, *, session_info: dict[str, Any] | None = None, **engine_options: Any) -> None:
        """`session_info` is what every session carries along as its `info`."""
        self.url = make_url(url)
        self.session_info = session_info or {}
        if self.is_sqlite and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        if self.url.drivername == "postgresql":
            self.url = self.url.set(drivername="postgresql+psycopg")
        self.engine: Engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite, **engine_options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def migrate(self) -> None:
        """Runs the migrations that this database has not seen. Several processes may call it at the same time.

        Raises:
            SchemaVersionError: the database is newer than this code, or older than its first migration.
        """
        with self.engine.begin() as connection:
            _lock(connection)
            config = _config(connection)
            if MigrationContext.configure(connection).get_current_revision() is None and _is_untracked(connection):
                version = connection.scalar(text("SELECT version FROM schema_info"))
                if version != _UNTRACKED_VERSION:
                    raise self._of_another_version(f"schema version {version}")
                command.stamp(config, _FIRST_REVISION)
            self._refuse_unknown(connection)
            command.upgrade(config, "head")

    def check_schema(self) -> None:
        """Raises SchemaVersionError unless all migrations have been run."""
        with self.engine.connect() as connection:
            self._refuse_unknown(connection)
            found = MigrationContext.configure(connection).get_current_revision()
        if found != head_revision():
            raise SchemaVersionError(
                f"The database at {self._shown_url} is at revision {found}, this version of Likeness needs "
                f"{head_revision()}. Run `python -m services.gateway.migrate`."
            )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session whose work is committed at the end, or undone when an exception leaves it."""
        with Session(self.engine, expire_on_commit=False, info=self.session_info) as session, session.begin():
            yield session

    def check(self) -> None:
        """Asks the database for an answer; raises what SQLAlchemy raises when there is none."""
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def checkpoint(self) -> None:
        """Writes what was committed to SQLite's log back into the database, and both to the disk, while others go on.

        Processes that live for longer call it every few seconds, so that no request has to.
        """
        if self.is_sqlite:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        self.engine.dispose()

    @property
    def _shown_url(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def _refuse_unknown(self, connection: Connection) -> None:
        found = MigrationContext.configure(connection).get_current_revision()
        known = {step.revision for step in ScriptDirectory.from_config(_config(connection)).walk_revisions()}
        if found is not None and found not in known:
            raise self._of_another_version(f"revision {found}")

    def _of_another_version(self, found: str) -> SchemaVersionError:
        return SchemaVersionError(
            f"The database at {self._shown_url} has {found}, which this version of Likeness does not know. Use the "
            "version that made it, a newer one, or another data folder."
        )


def head_revision() -> str:
    """The revision of this code's tables."""
    return str(ScriptDirectory(str(MIGRATIONS)).get_current_head())


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _is_untracked(connection: Connection) -> bool:
    return inspect(connection).has_table("schema_info")


def _lock(connection: Connection) -> None:
    """Until the transaction ends, no other process migrates."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_MS}")
    _write_ahead(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON", f"wal_autocheckpoint={WAL_LIMIT_PAGES}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Switches to the write-ahead log. SQLite does not wait for others when it changes this mode, so we do: a new
    database is opened by several processes at once."""
    give_up = time.monotonic() + SQLITE_BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(_BUSY_PAUSE_S)
