"""What the parts of the gateway need of each other: settings, database, store, stages."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from services.common.errors import LikenessError
from services.common.store import ObjectStore, open_store
from services.gateway.background import Background
from services.gateway.db import Database
from services.gateway.jobs import end_job
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Stages


@dataclass(frozen=True)
class Gateway:
    """One process's connections. Requests share it, and so may any other process that composes stages."""

    settings: GatewaySettings
    database: Database
    store: ObjectStore
    stages: Stages
    background: Background
    live_places: threading.Semaphore
    stopping: threading.Event = field(default_factory=threading.Event)

    def begin_to_stop(self) -> None:
        """What lasts as long as its caller likes ends now; requests that will end anyway go on."""
        self.stopping.set()

    def close(self) -> None:
        """Stops what runs in the background, whose jobs have then failed, and closes the connections."""
        self.begin_to_stop()
        why = LikenessError("DRAINING", "The gateway stopped while it worked on this; ask again.")
        for job_id in self.background.close(why):
            end_job(self.database, job_id, "failed", figures={}, error=why)
        self.stages.close()
        self.database.close()


def open_gateway(settings: GatewaySettings) -> Gateway:
    """Connections of one process, opened on first use; the database is prepared.

    Raises:
        SchemaVersionError: the database has another version.
    """
    database = Database(settings.resolved_database_url)
    database.migrate()
    return Gateway(
        settings,
        database,
        open_store(settings),
        Stages(settings),
        Background(settings.film_workers, settings.film_queue_size),
        threading.Semaphore(settings.live_sessions),
    )
