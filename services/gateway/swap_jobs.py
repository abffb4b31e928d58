"""A swapped picture as a job, for requests that do not wait: kept, queued, swapped and published by a worker."""

from __future__ import annotations

from functools import partial
from typing import Any

from services.common.errors import LikenessError
from services.gateway.assignments import Assignment, assign, for_stage, forget_references
from services.gateway.context import Gateway
from services.gateway.db import Job, Media, find
from services.gateway.db.models import utc_now
from services.gateway.jobs import QueueOptions, queue_job
from services.gateway.jobs.execution import Execution
from services.gateway.jobs.records import PLAIN
from services.gateway.jobs.results import publish_result, store_result
from services.gateway.jobs.steps import run_step
from services.gateway.media import media_bytes, publish, withdraw
from services.gateway.painting import Painting
from services.gateway.stages import fields_called
from services.gateway.swap import (
    SwapOrder,
    call_swap,
    find_picture,
    picture_figures,
    release_picture,
    stage_fields,
    swap_parameters,
)
from services.gateway.uploads import picture_content_type


def queue_picture_swap(
    gateway: Gateway, order: SwapOrder, *, tenant: str, request_id: str, options: QueueOptions = PLAIN
) -> Job:
    """Checks consents and the picture's kind, keeps the picture, and queues the job.

    Raises:
        LikenessError: QUEUE_FULL, NOT_FOUND, CONSENT_*, MEDIA_*, INVALID_FIELD.
    """
    queue_name = gateway.queue.admit(tenant, options)
    target = find_picture(gateway, tenant, order.target_media_id)
    target_type = None if target is not None else picture_content_type(order.target or b"", field="target")
    assignments = assign(gateway, tenant, order.assignments)
    uploaded = None
    try:
        if target is None:
            target = uploaded = publish(
                gateway, order.target or b"", tenant=tenant, content_type=str(target_type), purpose="swap_target"
            )
        with gateway.database.session() as session:
            return queue_job(
                gateway.queue,
                session,
                queue_name,
                tenant=tenant,
                kind="swap",
                request_id=request_id,
                consent_id=assignments[0].consents[0],
                likeness_id=assignments[0].face,
                target_media_id=target.id,
                parameters=swap_parameters(assignments, order) | {"target_uploaded": uploaded is not None},
                deadline_s=gateway.settings.background_swap_deadline_s,
                options=options,
            )
    except Exception:
        forget_references(gateway, tenant, assignments)
        if uploaded is not None:
            withdraw(gateway, uploaded)
        raise


def run_picture_job(execution: Execution, job: Job) -> None:
    """Swap and publish, as two steps of a workflow.

    Raises:
        LikenessError: what a step failed with, or the reason why the work was stopped.
    """
    execution.report({"phase": "swapping"})
    assignments = [Assignment.from_json(item) for item in job.parameters["assignments"]]
    execution.check = partial(for_stage, execution.gateway, job.tenant, assignments)
    swapped = run_step(execution, "swap", partial(swap_to_store, execution, job, assignments))
    publish = partial(publish_result, execution, swapped["stored"], purpose="swap", figures=swapped["figures"])
    run_step(execution, "publish", publish)


def swap_to_store(execution: Execution, job: Job, assignments: list[Assignment]) -> dict[str, Any]:
    """Swaps the job's picture and stores the result; what `publish_result` needs, and the figures."""
    gateway = execution.gateway
    with gateway.database.session() as session:
        target = find(session, Media, job.tenant, str(job.target_media_id), what="media", field="target_media")
    picture_format = job.parameters["format"]
    field = "target" if job.parameters.get("target_uploaded") else "target_media"
    target_bytes = media_bytes(gateway, target)
    try:
        with fields_called(stage_fields(assignments, field)):
            result, response = call_swap(
                gateway,
                target_bytes,
                assignments,
                Painting.from_json(job.parameters["painting"]),
                picture_format,
                tenant=job.tenant,
                mark=job.mark,
                call=execution.call(gateway.settings.swap_deadline_s),
                halt=execution.halt,
            )
    except LikenessError:
        execution.halt.check()
        raise
    result = release_picture(gateway, job, result, f"image/{picture_format}", target_bytes, target.content_type)
    stored = store_result(gateway, job.tenant, job.id, result, f"image/{picture_format}")
    seconds = (utc_now() - (job.started_at or job.created_at)).total_seconds()
    return {"stored": stored, "figures": picture_figures(response, max(0.0, seconds))}
