"""The schema's history: old databases become new ones, strange ones are refused, tables are those of the code."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from services.gateway.db import Base, Database, SchemaVersionError, Tenant, head_revision
from tests.databases import new_postgresql_database

Open = Callable[[], Database]


@pytest.fixture(params=["sqlite", "postgresql"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the same empty database again and again."""
    name = f"migrations_{abs(hash(request.node.name)):x}"
    url = f"sqlite:///{tmp_path / 'likeness.db'}" if request.param == "sqlite" else new_postgresql_database(name)
    opened: list[Database] = []

    def open_one() -> Database:
        opened.append(Database(url))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


def make_untracked(database: Database, version: int) -> None:
    """A database as the first version of Likeness left it: its tables, and no word of migrations."""
    database.migrate()
    with database.engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name not in ("consents", "media", "voices", "faces", "jobs"):
                connection.execute(text(f"DROP TABLE {table.name}"))
        for table, column in [
            *(("media", name) for name in ("job_id", "expires_at")),
            *(("jobs", name) for name in ("owner", "batch_id", "batch_index", "expires_at")),
        ]:
            for index in inspect(connection).get_indexes(table):
                if column in index["column_names"]:
                    connection.execute(text(f"DROP INDEX {index['name']}"))
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN {column}"))
        connection.execute(text("DROP INDEX jobs_by_state"))
        added = ("started_at", "deadline_at", "priority", "attempt", "workflow_id", "webhook_url", "custom_id")
        for column in (*added, "traceparent", "mark"):
            connection.execute(text(f"ALTER TABLE jobs DROP COLUMN {column}"))
        for column in ("languages", "recorded_by", "evidence_media_id", "template", "proof", "receipt"):
            connection.execute(text(f"ALTER TABLE consents DROP COLUMN {column}"))
        for column in ("adapted_at", "adaptation"):
            connection.execute(text(f"ALTER TABLE voices DROP COLUMN {column}"))
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("CREATE TABLE schema_info (version INTEGER PRIMARY KEY)"))
        connection.execute(text("INSERT INTO schema_info VALUES (:version)"), {"version": version})


def test_migrations_make_the_tables_of_the_code(reopen: Open) -> None:
    database = reopen()
    database.migrate()
    database.check_schema()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == head_revision()


def test_there_is_one_tenant_with_a_secret_of_its_own(reopen: Open) -> None:
    database = reopen()
    database.migrate()
    with database.session() as session:
        (tenant,) = session.query(Tenant).all()
    assert tenant.id == "local" and tenant.webhook_secret.startswith("whsec_") and len(tenant.webhook_secret) > 40


def test_a_database_from_before_migrations_keeps_its_records(reopen: Open) -> None:
    database = reopen()
    make_untracked(database, version=2)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs"
                " (id, tenant, created_at, kind, state, request_id, consent_id, likeness_id, parameters, figures)"
                " VALUES ('job_1', 'local', '2026-01-01', 'speech', 'succeeded', 'r', 'c', 'v', '{}', '{}'),"
                " ('job_2', 'local', '2026-01-02', 'swap', 'queued', 'r', 'c', 'f', '{}', '{}')"
            )
        )
    reopened = reopen()
    reopened.migrate()
    reopened.check_schema()
    with reopened.engine.connect() as connection:
        jobs = connection.execute(text("SELECT id, priority, attempt, mark FROM jobs ORDER BY id")).all()
        ((number, job_id, kind),) = connection.execute(text("SELECT number, job_id, kind FROM marks")).all()
        assert jobs == [("job_1", 0, 1, None), ("job_2", 0, 1, number)], "what may still make something has a number"
        assert (job_id, kind) == ("job_2", "swap") and 0 < number < 1 << 32
        assert not inspect(connection).has_table("schema_info")


@pytest.mark.parametrize("version", [1, 3])
def test_other_databases_from_before_migrations_are_refused(reopen: Open, version: int) -> None:
    make_untracked(reopen(), version)
    with pytest.raises(SchemaVersionError, match=f"schema version {version}"):
        reopen().migrate()


def test_a_newer_database_is_refused(reopen: Open) -> None:
    database = reopen()
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for check in (reopen().migrate, reopen().check_schema):
        with pytest.raises(SchemaVersionError, match="revision 9999"):
            check()


def test_a_database_without_its_tables_is_not_served(reopen: Open) -> None:
    with pytest.raises(SchemaVersionError, match="services.gateway.migrate"):
        reopen().check_schema()


def test_many_may_migrate_at_once(reopen: Open) -> None:
    failures: list[Exception] = []

    def migrate(database: Database) -> None:
        try:
            database.migrate()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate, args=(reopen(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    reopen().check_schema()


def test_a_new_database_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "likeness.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ("ROLLBACK",))
    release.start()
    database = Database(f"sqlite:///{path}")
    try:
        database.migrate()
        database.check_schema()
    finally:
        release.join()
        database.close()
        other.close()
