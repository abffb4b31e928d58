"""Jobs: their records, the queue, and what a worker needs to do them.

A request that is answered later adds a job with `queue_job`, whose record and place in the queue are one transaction.
Workers (`python -m services.gateway.worker`) take jobs from the queue and go through their steps (`workflows`); what
another worker left unfinished they go on with (`processes`).
"""

from services.gateway.jobs.queue import JobQueue, queue_job, retry_job
from services.gateway.jobs.records import (
    JobKind,
    JobState,
    QueueOptions,
    add_event,
    cancel_job,
    end_job,
    end_job_in,
    fail_orphans,
    report_progress,
)
from services.gateway.jobs.starting import start_job

__all__ = [
    "JobKind",
    "JobQueue",
    "JobState",
    "QueueOptions",
    "add_event",
    "cancel_job",
    "end_job",
    "end_job_in",
    "fail_orphans",
    "queue_job",
    "report_progress",
    "retry_job",
    "start_job",
]
