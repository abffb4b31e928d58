"""The database: engine, sessions, and the check that it has the schema this code expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, make_url, select
from sqlalchemy.orm import Session

from services.gateway.db.models import Base, SchemaInfo

SCHEMA_VERSION: Final = 2
SQLITE_BUSY_MS: Final = 10_000


class SchemaVersionError(RuntimeError):
    """The database was made by another version of Likeness."""


class Database:
    """Engine and sessions. Made in each process for itself, after the fork."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        if self.url.get_backend_name() == "sqlite" and self.url.database not in (None, "", ":memory:"):
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(self.url, pool_pre_ping=self.url.get_backend_name() != "sqlite")
        if self.url.get_backend_name() == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)

    def prepare(self) -> None:
        """Creates the tables of an empty database and checks the version of one that has them.

        Raises:
            SchemaVersionError: the database has another version.
        """
        Base.metadata.create_all(self.engine)
        with self.session() as session:
            found = session.scalar(select(SchemaInfo.version))
            if found is None:
                session.add(SchemaInfo(version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise SchemaVersionError(
                    f"The database at {self.url.render_as_string(hide_password=True)} has schema version {found}; this "
                    f"version of Likeness works with {SCHEMA_VERSION}. Use the matching version or another data folder."
                )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session whose work is committed at the end, or undone when an exception leaves it."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def check(self) -> None:
        """Asks the database for an answer; raises what SQLAlchemy raises when there is none."""
        with self.engine.connect() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        self.engine.dispose()


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={SQLITE_BUSY_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
