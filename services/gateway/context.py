"""What the parts of the gateway need of each other: settings, database, store, stages."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from services.common.grants import GrantSigner
from services.common.keys import Keys, load_keys, make_keys
from services.common.store import ObjectStore, open_store
from services.gateway.auditing import chain_unchained
from services.gateway.consents.policy import POLICY, Policy, load_policy
from services.gateway.db import Database
from services.gateway.ids import new_id
from services.gateway.jobs import JobQueue
from services.gateway.jobs.processes import Presence
from services.gateway.jobs.tables import prepare_tables
from services.gateway.protected.registry import ProtectedPeople, Thresholds
from services.gateway.provenance.manifests import ManifestSigner
from services.gateway.provenance.signing_key import load_function, load_signing_key
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Stages


@dataclass(frozen=True)
class Gateway:
    """One process's connections. Requests share it, and so may any other process that composes stages."""

    settings: GatewaySettings
    keys: Keys
    manifests: ManifestSigner
    policy: Policy
    protected: ProtectedPeople
    database: Database
    store: ObjectStore
    stages: Stages
    queue: JobQueue
    presence: Presence
    live_places: threading.Semaphore
    watcher_places: threading.Semaphore
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def process_id(self) -> str:
        """Whose work that is which somebody waits for here."""
        return self.presence.id

    def begin_to_stop(self) -> None:
        """What lasts as long as its caller likes ends now; requests that will end anyway go on."""
        self.stopping.set()

    def close(self) -> None:
        """Says goodbye and closes the connections."""
        self.begin_to_stop()
        self.presence.stop()
        self.stages.close()
        self.queue.close()
        self.database.close()


def open_gateway(settings: GatewaySettings) -> Gateway:
    """Connections of one process, opened on first use; the database is prepared.

    Raises:
        SchemaVersionError: the database has another version.
        PolicyError: the consent policy cannot be read.
        KeysError: keys are given, and not complete. Where none are given they are made in data_dir.
    """
    if settings.keys_dir is None:
        make_keys(settings.resolved_keys_dir)
    keys = load_keys(settings.resolved_keys_dir)
    policy = load_policy(settings.consent_policy)
    database = Database(settings.resolved_database_url, session_info={POLICY: policy})
    database.migrate()
    prepare_tables(database)
    chain_unchained(database)
    thresholds = Thresholds(settings.protected_voice_similarity, settings.protected_face_distance)
    return Gateway(
        settings,
        keys,
        ManifestSigner(load_signing_key(keys.c2pa, load_function(settings.c2pa_sign))),
        policy,
        ProtectedPeople(database, keys.templates, thresholds, settings.protected_refresh_s),
        database,
        open_store(settings),
        Stages(settings, GrantSigner(keys.grant)),
        JobQueue(settings, database),
        Presence(database, settings, "gateway", new_id("gateway"), comes_back=True),
        threading.Semaphore(settings.live_sessions),
        threading.Semaphore(min(settings.job_watchers, settings.threads // 2)),
    )
