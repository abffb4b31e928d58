"""`python -m services.gateway.worker`: does queued jobs until SIGTERM.

Any number of workers may run, each with an id of its own (`LIKENESS_WORKER_ID`, by default the host's name), which
should be the same after a restart.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

from services.common.keys import KeysError
from services.common.logs import configure_logging
from services.common.metrics import MetricsServer
from services.common.stopping import stop_signals, wait_until
from services.common.tracing import configure_tracing, stop_tracing
from services.gateway.consents.policy import PolicyError
from services.gateway.context import open_gateway
from services.gateway.db import SchemaVersionError
from services.gateway.jobs.runner import Runner
from services.gateway.jobs.worker_metrics import register_collector
from services.gateway.settings import GatewaySettings

LOST: Final = 3  # exit code of a worker that was taken for gone; whoever supervises it starts it again
_log: Final = logging.getLogger(__name__)


def main() -> int:
    settings = GatewaySettings()
    configure_logging(settings.log_level, settings.log_format, "worker")
    configure_tracing(settings, "worker")
    try:
        gateway = open_gateway(settings)
    except (SchemaVersionError, KeysError, PolicyError) as error:
        print(error, file=sys.stderr)
        return 2
    stop = stop_signals()
    register_collector(gateway.database)
    runner = Runner(gateway, on_lost=lambda: _end(LOST))
    runner.start()
    metrics = MetricsServer(settings.metrics_host, settings.metrics_port)  # which answers as soon as the worker works
    _log.info("ready, metrics on port %d", metrics.port)
    wait_until(stop)
    _log.info("stopping; others go on with what is unfinished")
    runner.stop()
    _end(0)
    return 0


def _end(code: int) -> None:
    """At once: threads that wait for a job that is another's by now would keep the process."""
    stop_tracing()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
