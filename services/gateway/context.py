"""What the parts of the gateway need of each other: settings, database, store, stages."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.store import ObjectStore
from services.gateway.db import Database
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Stages


@dataclass(frozen=True)
class Gateway:
    """One process's connections. Requests share it, and so may any other process that composes stages."""

    settings: GatewaySettings
    database: Database
    store: ObjectStore
    stages: Stages

    def close(self) -> None:
        self.stages.close()
        self.database.close()
