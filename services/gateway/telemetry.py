"""Request ids, access log and Prometheus metrics of the gateway."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any, Final

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
from services.gateway.figures import SpeechFigures
from services.gateway.jobs import JobState

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_FACTORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_LIKENESS: Final = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
_RATES: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 200.0)
QUIET_PATHS: Final = ("/healthz", "/readyz", "/metrics")

http_requests_total = Counter("likeness_http_requests", "HTTP responses begun", ["method", "route", "status"])
http_seconds = Histogram(
    "likeness_http_request_seconds", "Until the response begins", ["method", "route"], buckets=_SECONDS
)
speeches_total = Counter("likeness_speeches", "Spoken utterances by how they ended", ["state"])
speech_ttfa_seconds = Histogram("likeness_speech_time_to_first_audio_seconds", "From arrival", buckets=_SECONDS)
speech_real_time_factor = Histogram("likeness_speech_real_time_factor", "Whole path", buckets=_FACTORS)
speech_similarity = Histogram("likeness_speech_similarity", "Cosine to the enrolled voice", buckets=_LIKENESS)
films_total = Counter("likeness_films", "Swapped films by how they ended", ["state"])
film_frames_total = Counter("likeness_film_frames", "Frames of films that were published")
film_frames_per_second = Histogram("likeness_film_frames_per_second", "Whole path, published films", buckets=_RATES)
live_sessions_total = Counter("likeness_live_sessions", "Live swaps by how they ended", ["state"])

_log: Final = logging.getLogger("services.gateway.access")


def observe_speech(state: JobState, figures: SpeechFigures) -> None:
    speeches_total.labels(state=state).inc()
    if figures.ttfa_ms is not None:
        speech_ttfa_seconds.observe(figures.ttfa_ms / 1000.0)
    if state == "succeeded" and figures.real_time_factor is not None:
        speech_real_time_factor.observe(figures.real_time_factor)
    if figures.speaker_similarity is not None:
        speech_similarity.observe(figures.speaker_similarity)


def observe_film(state: JobState, figures: Mapping[str, Any]) -> None:
    films_total.labels(state=state).inc()
    if state == "succeeded":
        film_frames_total.inc(figures["frames"])
        film_frames_per_second.observe(figures["frames_per_second"])


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
