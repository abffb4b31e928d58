"""Who is alive: each gateway and worker says so every few seconds, by the database's clock, and notices who does not.

A process that was silent for too long counts as gone: its row is deleted, and with it its right to work. Should it come
back (it was only stopped, or cut off), it finds its row gone and ends itself; what it still writes for a job that is
another's by then the database refuses, since each job's execution has an owner there.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.gateway.db import Database, Job, Process
from services.gateway.db.models import utc_now
from services.gateway.jobs.records import RUNNING
from services.gateway.settings import GatewaySettings

_LEFT: Final = {"reason": "DRAINING", "detail": "The gateway that worked on this has gone; ask again.", "field": None}
_log: Final = logging.getLogger(__name__)


class Presence:
    """This process's row in `processes`, kept fresh by a thread of its own.

    Args:
        process_id: unique among those that live; of a worker the same after a restart.
        on_lost: called once when the row is gone or another's: the process must stop its work at once.
        comes_back: whether it writes a new row instead, since what it had at hand then is settled by that.
    """

    def __init__(
        self,
        database: Database,
        settings: GatewaySettings,
        kind: Literal["gateway", "worker"],
        process_id: str,
        *,
        on_lost: Callable[[], None] = lambda: None,
        comes_back: bool = False,
    ) -> None:
        self.id = process_id
        self._database = database
        self._settings = settings
        self._kind = kind
        self._token = secrets.token_hex(16)
        self._on_lost = on_lost
        self._comes_back = comes_back
        self._stopping = threading.Event()
        self._failed_at: float | None = None  # monotonic: the last beat that did not reach the database
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        """Writes the row, in place of one that an earlier process of this id left, and begins to keep it fresh."""
        self._write()
        self._thread.start()

    def _write(self) -> None:
        with self._database.session() as session:
            now = database_now(session)
            session.execute(delete(Process).where(Process.id == self.id))
            session.add(Process(id=self.id, kind=self._kind, token=self._token, started_at=now, beat_at=now))

    def stop(self) -> None:
        """Deletes the row, if there is one: what is left of this process's work is others' at once."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)
        try:
            with self._database.session() as session:
                session.execute(delete(Process).where(Process.id == self.id, Process.token == self._token))
        except SQLAlchemyError as error:
            _log.warning("%s goes without a goodbye: %s", self.id, error)

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.process_beat_s):
            try:
                if not self._beat():
                    if self._comes_back:
                        _log.warning("process %s was taken for gone", self.id)
                        self._write()
                        continue
                    _log.critical("process %s was taken for gone; another has its work now", self.id)
                    self._on_lost()
                    return
                self._look_for_gone()
                self._database.checkpoint()
            except SQLAlchemyError as error:
                self._failed_at = time.monotonic()
                _log.warning("the database does not answer: %s", error)
            except Exception:
                _log.exception("a beat of %s failed", self.id)

    def _beat(self) -> bool:
        with self._database.session() as session:
            now = database_now(session)
            mine = update(Process).where(Process.id == self.id, Process.token == self._token).values(beat_at=now)
            return bool(getattr(session.execute(mine), "rowcount", 0))

    def _look_for_gone(self) -> None:
        """Deletes the rows of those who are silent, and fails what they answered while somebody waited."""
        if self._failed_at is not None:
            if time.monotonic() - self._failed_at < 2 * self._settings.process_beat_s:
                return  # the database was away for all; the others get the time to say that they live
            self._failed_at = None
        forget_silent(self._database, self._settings.process_stale_s)


def forget_silent(database: Database, stale_s: float) -> list[str]:
    """Deletes the rows of processes that were silent for so long, and fails the jobs that only they could end."""
    with database.session() as session:
        limit = database_now(session) - timedelta(seconds=stale_s)
        silent = list(session.scalars(select(Process.id).where(Process.beat_at < limit)))
        for process_id in silent:
            session.execute(delete(Process).where(Process.id == process_id, Process.beat_at < limit))
        if silent:
            _log.warning("gone without a word: %s", ", ".join(silent))
        living = select(Process.id)
        session.execute(
            update(Job)
            .where(
                Job.state == RUNNING,
                Job.workflow_id.is_(None),
                Job.batch_id.is_(None),
                Job.owner.is_not(None),
                Job.owner.not_in(living),
            )
            .values(state="failed", finished_at=utc_now(), error=_LEFT)
            .execution_options(synchronize_session=False)
        )
    return silent


def living_ids(database: Database) -> set[str]:
    with database.session() as session:
        return set(session.scalars(select(Process.id)))


def database_now(session: Session) -> datetime:
    """The time by which beats are compared: PostgreSQL's; with SQLite all processes share a machine, and its clock."""
    if session.get_bind().dialect.name == "postgresql":
        now = session.scalar(select(func.clock_timestamp()))
        if isinstance(now, datetime):
            return now
    return utc_now()
