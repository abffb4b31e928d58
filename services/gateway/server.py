"""gunicorn around the application: threads in one or several worker processes, set up by code alone."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from services.common.keys import KeysError
from services.common.logs import configure_logging
from services.gateway.accounts.bootstrap import make_bootstrap_key, refusal_to_listen
from services.gateway.consents.policy import PolicyError
from services.gateway.context import open_gateway
from services.gateway.db import SchemaVersionError
from services.gateway.jobs import fail_orphans
from services.gateway.settings import GatewaySettings
from services.gateway.uploads import clear_spool

GC_THRESHOLD: Final = 20_000  # new objects between two looks at them
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where gunicorn keeps its heartbeat files
_log: Final = logging.getLogger(__name__)


class PlainLogger(Logger):  # type: ignore[misc]
    """gunicorn's messages go where all others go; requests are logged by the application."""

    def setup(self, cfg: Any) -> None:
        self.cfg = cfg
        self.error_log.propagate = True
        self.error_log.setLevel(cfg.loglevel.upper())

    def access(self, *_: Any) -> None:
        return None

    def reopen_files(self) -> None:
        return None


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """The gunicorn application."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        options = {
            "bind": f"{host}:{settings.http_port}",
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_class": "gthread",
            "timeout": 60,  # of a worker's heartbeat; requests have deadlines of their own
            "graceful_timeout": settings.graceful_timeout_s,
            "keepalive": 5,
            "loglevel": settings.log_level,
            "logger_class": PlainLogger,
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            "control_socket_disable": True,
            "child_exit": _forget_worker,
            "post_worker_init": _tell_gateway_of_the_end,
            "worker_exit": _close_gateway,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Runs in each worker: connections and threads of gRPC do not survive a fork."""
        from services.gateway.app import create_app

        app = create_app(self._settings)
        gc.collect()
        gc.freeze()  # what is there now stays for good: the collector need not look at it again and again
        gc.set_threshold(GC_THRESHOLD)
        return app


def serve(settings: GatewaySettings) -> int:
    """Prepares the database and serves until SIGTERM."""
    configure_logging(settings.log_level, settings.log_format, "gateway")
    try:
        gateway = open_gateway(settings)
    except (SchemaVersionError, KeysError, PolicyError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        make_bootstrap_key(gateway)
        refusal = refusal_to_listen(gateway)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        gateway.close()
        print(refusal, file=sys.stderr)
        return 2
    if gateway.database.url.get_backend_name() == "sqlite":  # one machine, so that no other gateway works on these jobs
        orphans = fail_orphans(gateway.database)
        if orphans:
            _log.warning("%d jobs were left running by an earlier process and are failed now", orphans)
        clear_spool(settings.spool_dir)
    gateway.close()
    GatewayServer(settings).run()
    return 0


def _tell_gateway_of_the_end(worker: Any) -> None:
    """In the worker: SIGTERM ends live swaps at once; gunicorn's own handler then waits for requests."""
    graceful = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: Any) -> None:
        worker.wsgi.extensions["likeness"].begin_to_stop()
        if callable(graceful):
            graceful(number, frame)

    signal.signal(signal.SIGTERM, end)


def _close_gateway(_server: object, worker: Any) -> None:
    """In the worker, when its requests are done."""
    app = getattr(worker, "wsgi", None)
    if app is not None:
        app.extensions["likeness"].close()


def _forget_worker(_server: object, worker: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
