"""The fields of requests whose work may be queued."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from pydantic import BaseModel, Field, StringConstraints

from services.gateway.api.fields import current_gateway
from services.gateway.db.models import utc_now
from services.gateway.jobs import QueueOptions
from services.gateway.jobs.queue import MAX_PRIORITY
from services.gateway.webhooks import check_webhook_url

MAX_DEADLINE_S: Final = 7 * 86400
QUEUE_FIELDS: Final = ("webhook_url", "priority", "deadline_seconds")


class QueueFields(BaseModel):
    """How work waits, and who is told of its end."""

    webhook_url: Annotated[str, StringConstraints(max_length=2048, pattern=r"^https?://[^\s\x00]+$")] | None = Field(
        None, description="Is told when the job ends (Standard Webhooks; https, public addresses only)."
    )
    priority: int = Field(
        0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Of queued work: lower is earlier among your own jobs."
    )
    deadline_seconds: float | None = Field(
        None, gt=0, le=MAX_DEADLINE_S, description="From now; a job that has not ended then has failed."
    )


def queue_options(body: QueueFields) -> QueueOptions:
    """Raises LikenessError INVALID_FIELD for a webhook_url to which nothing is sent."""
    if body.webhook_url is not None:
        check_webhook_url(body.webhook_url, current_gateway().settings)
    return QueueOptions(
        priority=body.priority,
        deadline_at=None if body.deadline_seconds is None else utc_now() + timedelta(seconds=body.deadline_seconds),
        webhook_url=body.webhook_url,
    )
