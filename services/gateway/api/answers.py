"""Answers to requests whose work was queued: the result when it is there in time, else where it will be."""

from __future__ import annotations

from services.common.errors import REASONS, LikenessError
from services.gateway.api.fields import current_gateway
from services.gateway.api.prefer import Preference
from services.gateway.db import Job
from services.gateway.watching import wait_for_end


def ended_in_time(job: Job, preference: Preference) -> Job | None:
    """The job as it succeeded within the time that the request would wait; None when it goes on.

    Raises:
        LikenessError: what it failed with in that time.
    """
    gateway = current_gateway()
    if preference.wait_s is None or not wait_for_end(gateway, job.id, preference.wait_s):
        return None
    with gateway.database.session() as session:
        ended = session.get_one(Job, job.id)
    if ended.state == "succeeded":
        return ended
    told = ended.error or {"reason": "CANCELLED", "detail": f"{job.id} has been ended."}
    reason = told["reason"] if told["reason"] in REASONS else "INTERNAL"
    raise LikenessError(reason, told["detail"], field=told.get("field"))


def preference_headers(preference: Preference, location: str | None = None) -> dict[str, str]:
    headers = {"Preference-Applied": preference.applied()} if preference.may_queue else {}
    return headers if location is None else {**headers, "Location": location}
