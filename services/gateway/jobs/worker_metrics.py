"""Prometheus metrics of a worker. What is in the database is counted when somebody asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from services.gateway.db import Database, Job
from services.gateway.db.models import utc_now
from services.gateway.jobs.records import QUEUED, UNFINISHED

takeovers_total: Final = Counter("likeness_job_takeovers", "Unfinished jobs of workers that were gone, queued again")


class JobsCollector(Collector):
    """Unfinished jobs of the whole installation by state and kind, and how long the oldest has been waiting."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("likeness_jobs", "Unfinished jobs, items of batches too", labels=["state", "kind"])
        depth = GaugeMetricFamily("likeness_job_queue_depth", "Jobs that wait for a worker")
        oldest = GaugeMetricFamily("likeness_job_oldest_waiting_seconds", "Age of the job that has waited longest")
        waiting = (Job.state == QUEUED, Job.batch_id.is_(None))
        try:
            with self._database.session() as session:
                query = select(Job.state, Job.kind, func.count()).where(Job.state.in_(UNFINISHED))
                for state, kind, count in session.execute(query.group_by(Job.state, Job.kind)):
                    jobs.add_metric([state, kind], count)
                depth.add_metric([], session.scalar(select(func.count()).select_from(Job).where(*waiting)) or 0)
                first = session.scalar(select(func.min(Job.created_at)).where(*waiting))
                oldest.add_metric([], 0.0 if first is None else max(0.0, (utc_now() - first).total_seconds()))
        except SQLAlchemyError:
            return
        yield from (jobs, depth, oldest)


def register_collector(database: Database) -> None:
    REGISTRY.register(JobsCollector(database))
