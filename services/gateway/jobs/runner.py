"""A worker: takes jobs from the queues and does them, goes on with those of workers that have gone, keeps house."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from dbos import DBOS
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.context import Gateway
from services.gateway.jobs.expiry import sweep
from services.gateway.jobs.processes import Presence, living_ids
from services.gateway.jobs.queue import APPLICATION, WORKFLOW_VERSION
from services.gateway.jobs.serializer import JsonSerializer
from services.gateway.jobs.tables import open_queue_engine
from services.gateway.jobs.watching import Watch
from services.gateway.jobs.worker_context import WorkerContext, set_worker
from services.gateway.jobs.worker_metrics import takeovers_total
from services.gateway.jobs.workflows import KNOWN_TO_QUEUE
from services.gateway.sweeping import sweep_orphans
from services.gateway.webhooks import deliver_due

SWEEP_S: Final = 30.0
SWEEP_ORPHANS_S: Final = 3600.0  # it lists the whole store
DELIVER_S: Final = 1.0
_log: Final = logging.getLogger(__name__)


class Runner:
    """The worker of this process; there can be one at a time.

    Args:
        on_lost: called when this worker was taken for gone; its work is another's, and it has stopped by then.
    """

    def __init__(self, gateway: Gateway, *, on_lost: Callable[[], None] = lambda: None) -> None:
        self._gateway = gateway
        self._on_lost = on_lost
        self.id = gateway.settings.worker_id or socket.gethostname()
        self._watch = Watch(gateway)
        self._presence = Presence(gateway.database, gateway.settings, "worker", self.id, on_lost=self._lose)
        self._engine = open_queue_engine(gateway.database)
        self._stopping = threading.Event()
        self._idle: set[str] = set()  # workflows that are this worker's, but did not run when it looked last
        self._housekeeping = [
            threading.Thread(target=self._repeat, args=duty, name=duty[0].__name__, daemon=True)
            for duty in (
                (self._take_over, gateway.settings.process_beat_s),
                (self._deliver, DELIVER_S),
                (self._sweep, SWEEP_S),
                (self._sweep_orphans, SWEEP_ORPHANS_S),
            )
        ]

    def start(self) -> None:
        """Begins to work; jobs that an earlier worker of this id has left unfinished come first."""
        settings = self._gateway.settings
        shutil.rmtree(settings.spool_dir / f"worker-{self.id}", ignore_errors=True)
        self._presence.start()
        self._watch.start()
        set_worker(WorkerContext(self.id, self._gateway, self._watch, self._give_back))
        self._gateway.queue.prepare_default()
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_engine": self._engine,
                "serializer": JsonSerializer(),
                "application_version": WORKFLOW_VERSION,
                "executor_id": self.id,
                "run_migrations": False,
                "notification_listener_polling_interval_sec": 0.25,
                "log_level": "WARNING",
            }
        )
        DBOS.launch()
        for thread in self._housekeeping:
            thread.start()
        _log.info("worker %s does %s, %d at a time", self.id, "+".join(KNOWN_TO_QUEUE), settings.worker_jobs)

    def stop(self) -> None:
        """Takes no more jobs, gives those at hand back to the queue, and says goodbye: others go on with them at once.

        Their steps are stopped without a word in the queue's tables.
        """
        self._stopping.set()
        for event in _library().background_thread_stop_events:
            event.set()
        time.sleep(2 * self._gateway.settings.queue_poll_s)  # what was being claimed is claimed now
        self._watch.hand_over("The worker is shutting down.")
        DBOS._recover_pending_workflows([self.id])
        self._watch.stop()
        self._presence.stop()
        set_worker(None)
        DBOS.destroy()
        self._engine.dispose()

    def _give_back(self, workflow_id: str) -> None:
        """Waits for the database, however long it is away."""
        _library()._sys_db.reenqueue_for_recovery(workflow_id, [self.id], self._gateway.queue.prepare_default())

    def _lose(self) -> None:
        for event in _library().background_thread_stop_events:
            event.set()
        self._stopping.set()
        self._watch.hand_over("Another worker has taken this over.")
        self._on_lost()

    def _repeat(self, duty: Callable[[], object], every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                duty()
            except SQLAlchemyError as error:
                _log.warning("the database does not answer: %s", error)
            except Exception:
                if not self._stopping.is_set():
                    _log.exception("housekeeping failed")

    def _deliver(self) -> None:
        deliver_due(self._gateway)

    def _sweep(self) -> None:
        sweep(self._gateway)

    def _sweep_orphans(self) -> None:
        sweep_orphans(self._gateway)

    def _take_over(self) -> None:
        """Puts unfinished jobs of workers that are gone back into the queue, where whoever has room finds them.

        Also those that this worker has claimed but never begun, because the database went away in between.
        """
        pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        running = set(_library()._active_workflows_set.activeList())
        idle = {found.workflow_id for found in pending if found.executor_id == self.id} - running
        for workflow_id in idle & self._idle:  # for a whole round
            _log.warning("%s was claimed but not begun; it is in the queue again", workflow_id)
            self._give_back(workflow_id)
        self._idle = idle
        gone = {found.executor_id for found in pending if found.executor_id} - living_ids(self._gateway.database)
        for executor in sorted(gone):
            taken = DBOS._recover_pending_workflows([executor])
            takeovers_total.inc(len(taken))
            _log.warning("%d unfinished jobs of %s, which is gone, are in the queue again", len(taken), executor)


def _library() -> Any:
    from dbos._dbos import _get_dbos_instance

    return _get_dbos_instance()
