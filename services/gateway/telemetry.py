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
from services.common.tracing import TRACEPARENT, begin_span, traceparent_var
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
    route = request.url_rule.rule if request.url_rule else "unknown"
    g.span = None
    if request.path not in QUIET_PATHS:
        parent = request.headers.get(TRACEPARENT, "")
        g.span = begin_span(f"{request.method} {route}", "SERVER", parent, request_id=g.request_id)
    traceparent_var.set("" if g.span is None else g.span.traceparent)


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    elapsed_s = time.monotonic() - g.started_at
    route = request.url_rule.rule if request.url_rule else "unknown"
    http_requests_total.labels(request.method, route, response.status_code).inc()
    http_seconds.labels(request.method, route).observe(elapsed_s)
    if (span := g.span) is not None:
        span.set(**{"http.request.method": request.method, "http.route": route})
        span.set(**{"http.response.status_code": response.status_code})
        failure = response.status if response.status_code >= 500 else None
        response.call_on_close(lambda: span.end(failure))  # of a stream, when it has ended
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
