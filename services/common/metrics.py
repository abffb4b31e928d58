"""Prometheus metrics of a stage, and the small HTTP server that shows them.

The metrics are module-level, one set per process, labelled by stage.
"""

from __future__ import annotations

import threading
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_FACTORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)

requests_total = Counter("likeness_requests", "Finished requests", ["method", "code"])
request_seconds = Histogram("likeness_request_seconds", "From admission to the last byte", ["method"], buckets=_SECONDS)
queue_depth = Gauge("likeness_queue_depth", "Requests admitted and waiting", ["stage"])
inflight = Gauge("likeness_inflight", "Requests worked on", ["stage"])
batch_size = Histogram("likeness_batch_size", "Items per model run", ["stage"], buckets=_BATCHES)
real_time_factor = Histogram(
    "likeness_real_time_factor", "Seconds of work per second of media", ["stage"], buckets=_FACTORS
)
model_load_seconds = Gauge("likeness_model_load_seconds", "Time the model took to load and warm", ["stage"])


class StageMetrics:
    """The metrics that a stage's own code feeds, with its label filled in."""

    def __init__(self, stage: str) -> None:
        self.real_time_factor = real_time_factor.labels(stage=stage)
        self.batch_size = batch_size.labels(stage=stage)
        self.queue_depth = queue_depth.labels(stage=stage)
        self.inflight = inflight.labels(stage=stage)
        self.model_load_seconds = model_load_seconds.labels(stage=stage)


class MetricsServer:
    """Serves `/metrics` on its own port."""

    def __init__(self, host: str, port: int) -> None:
        server, thread = start_http_server(port, host)
        self._server = server
        self._thread: threading.Thread = thread
        self.port: int = server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
