"""/v1/jobs/{id}/events: what happens to a job, as server-sent events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from apiflask import APIBlueprint
from flask import Response, request
from sqlalchemy import func, select

from services.common.errors import LikenessError
from services.gateway.accounts import needs
from services.gateway.api.fields import current_gateway, current_tenant
from services.gateway.api.headers import LAST_EVENT_ID, takes_headers
from services.gateway.api.reasons import fails_with
from services.gateway.db import Job, JobEvent, find
from services.gateway.watching import ENDED, Place, job_events, take_place

bp = APIBlueprint("job_events", __name__, url_prefix="/v1/jobs", tag="Jobs")
MAX_DIGITS: Final = 18

_RESPONSES: Final[Any] = {
    200: {
        "description": "`state` events (`status`, and `error` where there is one) and `progress` events (as `progress` "
        "of the job), each with an id; a comment every 15 seconds. The stream ends with the job.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The job has ended, and its last event has been seen: do not connect again", "content": {}},
}


@bp.get("/<job_id>/events")
@needs("read", "jobs")
@takes_headers(LAST_EVENT_ID)
@bp.doc(
    summary="Watch a job",
    description="Begins with all that has happened so far or, with `Last-Event-ID`, with what came after that event. "
    "A stream that ends before the job does (the server is replaced) is to be continued in this way, as browsers' "
    "`EventSource` does by itself. Few watchers are let in at the same time.",
    operation_id="watch_job",
    responses=_RESPONSES,
)
@fails_with("NOT_FOUND", "INVALID_FIELD", "QUEUE_FULL", "DRAINING")
def watch_job(job_id: str) -> Response:
    gateway = current_gateway()
    after = _last_event_id()
    with gateway.database.session() as session:
        job = find(session, Job, current_tenant(), job_id, what="job")
        if after and job.state in ENDED:
            newest = session.scalar(select(func.max(JobEvent.id)).where(JobEvent.job_id == job.id))
            if newest is None or newest <= after:
                return Response(status=204)
    place = take_place(gateway)
    response = Response(_then_give_back(job_events(gateway, job_id, after), place), content_type="text/event-stream")
    response.call_on_close(place.give_back)  # also when nothing of it was read
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _then_give_back(events: Iterator[bytes], place: Place) -> Iterator[bytes]:
    try:
        yield from events
    finally:
        place.give_back()


def _last_event_id() -> int:
    given = request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= MAX_DIGITS):
        raise LikenessError("INVALID_FIELD", "Expected the id of an event, which is a number.", field="Last-Event-ID")
    return int(given)
