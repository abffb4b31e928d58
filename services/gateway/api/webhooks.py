"""/v1/webhooks: the secret that messages are signed with, and what became of those that were sent."""

from __future__ import annotations

from typing import Any, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field

from services.gateway.accounts import needs
from services.gateway.api.fields import (
    Identifier,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.job_views import moment
from services.gateway.api.reasons import fails_with
from services.gateway.db import Tenant, WebhookDelivery, get_page
from services.gateway.db.models import utc_now
from services.gateway.webhooks import rotate_secret

bp = APIBlueprint("webhooks", __name__, url_prefix="/v1/webhooks", tag="Webhooks")


class WebhookSecretOut(BaseModel):
    """What receivers verify messages with (https://www.standardwebhooks.com)."""

    object: Literal["webhook_secret"] = "webhook_secret"
    secret: str = Field(description="whsec_ and base64.")
    old_secret_until: int | None = Field(description="Until then, messages are signed with the one before, too.")


class WebhookDeliveryOut(BaseModel):
    """A message about a job's end, and how its delivery goes."""

    id: str = Field(description="Sent as `webhook-id`.")
    object: Literal["webhook_delivery"]
    job: str
    url: str
    status: Literal["waiting", "delivered", "given_up"]
    attempts: int
    created_at: int
    next_at: int | None = Field(description="When it is tried next.")
    delivered_at: int | None
    last_error: str | None


class DeliveryQuery(PageQuery):
    """Which messages."""

    job: Identifier | None = Field(None, description="Only those about this job.")


def _show_secret(tenant: Tenant) -> WebhookSecretOut:
    until = tenant.webhook_old_secret_until
    return WebhookSecretOut(
        secret=tenant.webhook_secret,
        old_secret_until=moment(until) if until is not None and until > utc_now() else None,
    )


def _show_delivery(delivery: WebhookDelivery) -> WebhookDeliveryOut:
    waiting = "waiting" if delivery.next_at is not None else "given_up"
    return WebhookDeliveryOut.model_validate(
        {
            "id": delivery.id,
            "object": "webhook_delivery",
            "job": delivery.job_id,
            "url": delivery.url,
            "status": waiting if delivery.delivered_at is None else "delivered",
            "attempts": delivery.attempts,
            "created_at": unix_seconds(delivery.created_at),
            "next_at": moment(delivery.next_at),
            "delivered_at": moment(delivery.delivered_at),
            "last_error": delivery.last_error,
        }
    )


@bp.get("/secret")
@needs("admin")
@bp.output(WebhookSecretOut)
@bp.doc(
    summary="Get the webhook secret",
    description="Requests that make jobs take a `webhook_url`, which is told when the job ends: `job.succeeded`, "
    "`job.failed` or `job.canceled`, signed with this secret by the Standard Webhooks scheme.",
    operation_id="get_webhook_secret",
)
def get_secret() -> WebhookSecretOut:
    with current_gateway().database.session() as session:
        return _show_secret(session.get_one(Tenant, current_tenant()))


@bp.post("/secret/rotate")
@needs("admin")
@bp.output(WebhookSecretOut)
@bp.doc(
    summary="Make a new webhook secret",
    description="For a day messages carry signatures of the old one, too, so that receivers can change over.",
    operation_id="rotate_webhook_secret",
)
def rotate() -> WebhookSecretOut:
    with current_gateway().database.session() as session:
        tenant = session.get_one(Tenant, current_tenant(), with_for_update=True)
        rotate_secret(tenant)
        return _show_secret(tenant)


@bp.get("/deliveries")
@needs("read", "jobs")
@bp.input(DeliveryQuery, location="query", arg_name="wanted")
@bp.output(PageOut[WebhookDeliveryOut])
@bp.doc(summary="List webhook messages", operation_id="list_webhook_deliveries")
@fails_with("INVALID_FIELD")
def list_deliveries(wanted: DeliveryQuery) -> dict[str, Any]:
    conditions = [] if wanted.job is None else [WebhookDelivery.job_id == wanted.job]
    with current_gateway().database.session() as session:
        found = get_page(
            session, WebhookDelivery, current_tenant(), *conditions, after=wanted.after, limit=wanted.limit
        )
        return page_out(found, _show_delivery)
