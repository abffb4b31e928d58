"""What runs in a worker: one workflow for all kinds of jobs, whose steps are those of the kind.

The job's record says what is to be done; the workflow itself knows only its id. It ends well whatever becomes of the
job, and whoever goes on with it after its worker has gone finds out from the record whether there is still something to
do.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from dbos import DBOS
from dbos import error as queue_error

from services.common.errors import LikenessError
from services.common.logs import request_id_var
from services.common.tracing import span, traceparent_var
from services.gateway.batch_jobs import run_batch_job
from services.gateway.db import Job
from services.gateway.film_jobs import run_film_job
from services.gateway.halting import HandedOver
from services.gateway.jobs.execution import DATABASE_AWAY, Execution
from services.gateway.jobs.leftovers import clear_after
from services.gateway.jobs.queue import WORKFLOW_NAME, seconds_left
from services.gateway.jobs.records import UNFINISHED, begin_job
from services.gateway.jobs.worker_context import current_worker
from services.gateway.speech_jobs import run_speech_job
from services.gateway.swap_jobs import run_picture_job

GIVE_BACK_PAUSE_S: Final = 1.0
_log: Final = logging.getLogger(__name__)


@DBOS.workflow(name=WORKFLOW_NAME, max_recovery_attempts=None)
def do_job(job_id: str, workflow_id: str) -> str:
    """Does the job to its end; its state afterwards."""
    worker = current_worker()
    first = Execution(
        gateway=worker.gateway,
        watch=worker.watch,
        owner=worker.id,
        job_id=job_id,
        tenant="",
        request_id="",
        workflow_id=workflow_id,
        expires_at=time.monotonic() + 365 * 86400,
    )
    job = first.insist(lambda: _begin(first), what="begin")
    if job is None:  # it has ended, maybe by a worker that was killed before it had cleared up
        return clear_after(first)
    request_id_var.set(job.request_id)
    execution = Execution(
        gateway=worker.gateway,
        watch=worker.watch,
        owner=worker.id,
        job_id=job.id,
        tenant=job.tenant,
        request_id=job.request_id,
        workflow_id=workflow_id,
        expires_at=time.monotonic() + seconds_left(job),
    )
    traced = span(f"job {job.kind}", "CONSUMER", job.traceparent or "", job_id=job.id)
    with traced, worker.watch.watching(execution):
        execution.trace = traceparent_var.get()
        try:
            execution.halt.check()
            execution.call().remaining_s()
            run_kind(execution, job)
        except queue_error.DBOSException:  # another's by now, or the queue itself is at fault: not the job's failure
            raise
        except LikenessError as error:
            execution.fail(error)
        except DATABASE_AWAY as error:  # between two steps, where nothing waits for it
            _log.warning("job %s is given back: %s", job_id, error)
            time.sleep(GIVE_BACK_PAUSE_S)
            worker.give_back(workflow_id)
            raise HandedOver("The database was away.") from error
        except Exception:
            _log.exception("job %s failed unexpectedly", job_id)
            execution.fail(LikenessError("INTERNAL", f"An unexpected failure; the log has it under job {job_id}."))
        state = clear_after(execution)
    _log.info("job %s: %s", job_id, state)
    return state


KNOWN_TO_QUEUE: Final = (WORKFLOW_NAME,)


def run_kind(execution: Execution, job: Job) -> None:
    """The steps of the job's kind, until its result is published.

    Raises:
        LikenessError: what a step failed with, or the reason why the work was stopped.
    """
    if job.kind == "batch":
        run_batch_job(execution, job, run_kind)
    elif job.kind == "speech":
        run_speech_job(execution, job)
    elif "film" in job.parameters:
        run_film_job(execution, job)
    else:
        run_picture_job(execution, job)


def _begin(execution: Execution) -> Job | None:
    """The job, marked as this worker's; None when it has ended, or has been begun anew under another id."""
    with execution.gateway.database.session() as session:
        if not begin_job(session, execution.job_id, workflow_id=execution.workflow_id, owner=execution.owner):
            return None
        job = session.get(Job, execution.job_id)
        return job if job is not None and job.state in UNFINISHED else None
