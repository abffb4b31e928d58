"""Prometheus metrics of jobs that ended, by tenant: how many, and how much they made."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from services.gateway.db import Job

jobs_total: Final = Counter("likeness_tenant_jobs", "Jobs that ended", ["tenant", "kind", "state"])
made_seconds_total: Final = Counter(
    "likeness_tenant_made_seconds", "Length of the speech and films that were made", ["tenant", "kind"]
)


def observe_end(job: Job) -> None:
    """Counts a job whose end has just been written."""
    jobs_total.labels(tenant=job.tenant, kind=job.kind, state=job.state).inc()
    figures = job.figures
    seconds = float(figures.get("audio_seconds", 0.0))
    if figures.get("film_frame_rate"):
        seconds = figures["frames"] / figures["film_frame_rate"]
    if job.state == "succeeded" and seconds > 0:
        made_seconds_total.labels(tenant=job.tenant, kind=job.kind).inc(seconds)
