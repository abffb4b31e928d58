"""Request ids, access log and Prometheus metrics of the gateway."""

from __future__ import annotations

import logging
import os
import time
from typing import Final

from apiflask import APIFlask
from flask import Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

from services.common.logs import accept_request_id, request_id_var
from services.gateway.observations import SECONDS

QUIET_PATHS: Final = ("/healthz", "/readyz", "/metrics")

http_requests_total = Counter("likeness_http_requests", "HTTP responses begun", ["method", "route", "status"])
http_seconds = Histogram(
    "likeness_http_request_seconds", "Until the response begins", ["method", "route"], buckets=SECONDS
)

_log: Final = logging.getLogger("services.gateway.access")


def metrics_page() -> Response:
    """All metrics; of all gunicorn workers together when they share a folder for them."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def register_telemetry(app: APIFlask) -> None:
    app.before_request(_begin)
    app.after_request(_finish)


def _begin() -> None:
    g.started_at = time.monotonic()
    g.request_id = accept_request_id(request.headers.get("X-Request-Id"))
    request_id_var.set(g.request_id)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    elapsed_s = time.monotonic() - g.started_at
    route = request.url_rule.rule if request.url_rule else "unknown"
    http_requests_total.labels(request.method, route, response.status_code).inc()
    http_seconds.labels(request.method, route).observe(elapsed_s)
    if request.path not in QUIET_PATHS:
        fields = {"method": request.method, "route": route, "status": response.status_code}
        _log.info(
            "%s %s %d",
            request.method,
            request.path,
            response.status_code,
            extra=fields | {"seconds": round(elapsed_s, 4)},
        )
    return response
