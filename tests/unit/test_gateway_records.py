"""Ids, database, jobs, settings: the plain parts of the gateway."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.gateway.db import Consent, Database, Job, find, get_page
from services.gateway.ids import new_id
from services.gateway.jobs import end_job, fail_orphans, start_job
from services.gateway.jobs.processes import Presence
from services.gateway.settings import GatewaySettings
from tests.waiting import wait_for


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'deep' / 'likeness.db'}")
    opened.migrate()
    yield opened
    opened.close()


def add_job(database: Database) -> str:
    with database.session() as session:
        job = start_job(
            session, tenant="local", kind="speech", request_id="r", consent_id="c", likeness_id="v", parameters={}
        )
    return job.id


def read_job(database: Database, job_id: str) -> Job:
    with database.session() as session:
        return find(session, Job, "local", job_id, what="job")


def test_ids_sort_by_creation_and_never_repeat() -> None:
    ids = [new_id("job") for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"job_[0-9a-f]{28}", made) for made in ids)


def test_ids_of_many_threads_never_repeat() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(new_id("x") for _ in range(200))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1600


def test_preparing_twice_changes_nothing(database: Database) -> None:
    job_id = add_job(database)
    database.migrate()
    assert read_job(database, job_id).state == "processing"


def test_what_is_committed_reaches_the_database_file_although_nobody_asks(tmp_path: Path, database: Database) -> None:
    """The log is written back by the thread that says that the process lives, also while somebody is writing."""
    file = tmp_path / "deep" / "likeness.db"
    job_id = add_job(database)
    assert job_id.encode() not in file.read_bytes(), "it is in the log alone, or else this shows nothing"
    presence = Presence(database, GatewaySettings(data_dir=tmp_path, process_beat_s=0.1), "gateway", "gateway_1")
    presence.start()
    try:
        wait_for(lambda: job_id.encode() in file.read_bytes())
        with database.session() as session:
            session.add(Consent(id="cons_1", subject="voice", who="x", kind="y", uses=[], evidence=""))
            session.flush()
            database.checkpoint()
    finally:
        presence.stop()


def test_failed_session_is_undone(database: Database) -> None:
    with pytest.raises(RuntimeError), database.session() as session:
        start_job(session, tenant="local", kind="swap", request_id="", consent_id="", likeness_id="", parameters={})
        raise RuntimeError
    with database.session() as session:
        assert get_page(session, Job, "local", after=None, limit=10).records == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('records') / 'likeness.db'}")
    opened.migrate()
    yield opened
    opened.close()


@settings(max_examples=25)
@given(moment=st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)), hours=st.integers(-12, 14))
def test_points_in_time_come_back_in_utc(shared: Database, moment: datetime, hours: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    consent_id = new_id("cons")
    fields = {"subject": "voice", "who": "x", "kind": "synthetic", "uses": ["speech"], "evidence": "y"}
    with shared.session() as session:
        session.add(Consent(id=consent_id, expires_at=aware, **fields))
    with shared.session() as session:
        found = find(session, Consent, "local", consent_id, what="consent").expires_at
    assert found == aware
    assert found is not None
    assert found.utcoffset() == timedelta(0)


def test_pages_walk_through_all_records_once(database: Database) -> None:
    ids = [add_job(database) for _ in range(7)]
    walked: list[str] = []
    after, more = None, True
    while more:
        with database.session() as session:
            page = get_page(session, Job, "local", after=after, limit=3)
        walked += [job.id for job in page.records]
        after, more = walked[-1], page.has_more
    assert walked == ids[::-1]


def test_records_of_another_tenant_do_not_exist(database: Database) -> None:
    job_id = add_job(database)
    with database.session() as session:
        assert get_page(session, Job, "other", after=None, limit=3).records == []
        with pytest.raises(LikenessError, match="There is no job"):
            find(session, Job, "other", job_id, what="job")


def test_a_job_ends_once(database: Database) -> None:
    job_id = add_job(database)
    end_job(database, job_id, "succeeded", figures={"seconds": 1.0})
    end_job(database, job_id, "failed", figures={}, error=LikenessError("INTERNAL", "too late"))
    job = read_job(database, job_id)
    assert (job.state, job.figures, job.error) == ("succeeded", {"seconds": 1.0}, None)
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at


def test_orphans_are_failed_and_finished_jobs_are_not(database: Database) -> None:
    finished, orphan = add_job(database), add_job(database)
    end_job(database, finished, "succeeded", figures={})
    assert fail_orphans(database) == 1
    assert read_job(database, finished).state == "succeeded"
    told = read_job(database, orphan)
    assert (told.state, (told.error or {})["reason"]) == ("failed", "CANCELLED")
    assert fail_orphans(database) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_key_is_needed_unless_asked_for(host: str) -> None:
    assert GatewaySettings(host=host).is_open
    assert not GatewaySettings(host=host, auth="keys").is_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "likeness.example"])
def test_elsewhere_a_key_is_needed_unless_something_in_front_asks(host: str) -> None:
    assert not GatewaySettings(host=host).is_open
    assert GatewaySettings(host=host, allow_unauthenticated=True).is_open
    assert not GatewaySettings(host=host, allow_unauthenticated=True, auth="keys").is_open


def test_database_lies_in_the_data_folder_unless_told_otherwise(tmp_path: Path) -> None:
    assert GatewaySettings(data_dir=tmp_path).resolved_database_url == f"sqlite:///{tmp_path / 'likeness.db'}"
    assert GatewaySettings(database_url="postgresql://db/x").resolved_database_url == "postgresql://db/x"


def test_sqlite_keeps_a_write_ahead_log(database: Database) -> None:
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_utc_now_is_what_records_are_stamped_with(database: Database) -> None:
    before = datetime.now(UTC)
    created_at = read_job(database, add_job(database)).created_at
    assert before <= created_at <= datetime.now(UTC)
