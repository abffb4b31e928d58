"""The outbox: messages are written with the end of their job, claimed by one worker at a time, and tried for a day."""

from __future__ import annotations

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.db import Job, Tenant, WebhookDelivery
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.webhooks.sending import Outcome, post
from services.gateway.webhooks.signing import secrets_of, signed_headers

if TYPE_CHECKING:  # which itself needs the jobs, whose end is written together with their messages
    from services.gateway.context import Gateway

AT_ONCE: Final = 16
FIRST_DELAY_S: Final = 5.0
GROWTH: Final = 3.0
MAX_DELAY_S: Final = 6 * 3600.0
GIVE_UP_AFTER: Final = timedelta(days=1)
webhook_attempts_total: Final = Counter("likeness_webhook_attempts", "Attempts to deliver a webhook", ["outcome"])
_log: Final = logging.getLogger(__name__)


def enqueue_webhook(session: Session, job: Job) -> None:
    """Writes the message that tells of the job's end, where one was asked for. Call it in the transaction that ends it.

    The job must have the state, times, result and error it ends with.
    """
    if job.webhook_url is None:
        return
    now = utc_now()
    message = {"type": f"job.{job.state}", "timestamp": now.isoformat(), "data": _told(job)}
    session.add(
        WebhookDelivery(
            id=new_id("msg"),
            tenant=job.tenant,
            created_at=now,
            job_id=job.id,
            url=job.webhook_url,
            body=json.dumps(message, ensure_ascii=False, separators=(",", ":")),
            attempts=0,
            next_at=now,
        )
    )


def _told(job: Job) -> dict[str, Any]:
    """What a receiver needs to know before it asks for more; parameters and figures stay here."""
    return {
        "id": job.id,
        "object": "job",
        "kind": job.kind,
        "status": job.state,
        "attempt": job.attempt or 1,
        "created_at": int(job.created_at.timestamp()),
        "finished_at": None if job.finished_at is None else int(job.finished_at.timestamp()),
        "media": job.media_id,
        "batch": job.batch_id,
        "custom_id": job.custom_id,
        "error": job.error,
    }


def deliver_due(gateway: Gateway, *, at_once: int = AT_ONCE) -> int:
    """Sends what is due, at most `at_once` messages at the same time; how many were tried.

    Several workers may call it: each message is claimed first, for longer than an attempt lasts, so that it is sent
    again when its worker is killed. Blocks for as long as the slowest receiver, `webhook_timeout_s` at most.
    """
    claimed = _claim(gateway, at_once)
    if not claimed:
        return 0
    with ThreadPoolExecutor(len(claimed), thread_name_prefix="webhook") as pool:
        list(pool.map(lambda delivery: _attempt(gateway, delivery), claimed))
    return len(claimed)


def _claim(gateway: Gateway, limit: int) -> list[WebhookDelivery]:
    """Those due, new ones first: receivers that never answer must not keep the others waiting."""
    now = utc_now()
    until = now + timedelta(seconds=3 * gateway.settings.webhook_timeout_s + 10)
    with gateway.database.session() as session:
        due = select(WebhookDelivery).where(WebhookDelivery.delivered_at.is_(None), WebhookDelivery.next_at <= now)
        found = session.scalars(due.order_by(WebhookDelivery.attempts, WebhookDelivery.next_at).limit(limit)).all()
    claimed = []
    for delivery in found:
        with gateway.database.session() as session:
            result = session.execute(
                update(WebhookDelivery)
                .where(
                    WebhookDelivery.id == delivery.id,
                    WebhookDelivery.delivered_at.is_(None),
                    WebhookDelivery.next_at == delivery.next_at,
                )
                .values(next_at=until, attempts=delivery.attempts + 1)
                .execution_options(synchronize_session=False)
            )
        if getattr(result, "rowcount", 0):
            delivery.attempts += 1
            delivery.next_at = until
            claimed.append(delivery)
    return claimed


def _attempt(gateway: Gateway, delivery: WebhookDelivery) -> None:
    try:
        outcome = _send(gateway, delivery)
        _settle(gateway, delivery, outcome)
    except Exception:  # the database, say; the claim runs out and the message is tried again
        _log.exception("webhook %s could not be settled", delivery.id)


def _send(gateway: Gateway, delivery: WebhookDelivery) -> Outcome:
    with gateway.database.session() as session:
        tenant = session.get(Tenant, delivery.tenant)
        if tenant is None or tenant.disabled_at is not None:
            return Outcome("the tenant is disabled or gone", try_again=False)
        secrets = secrets_of(tenant)
    headers = signed_headers(delivery.id, delivery.body, secrets, utc_now())
    try:
        return post(delivery.url, delivery.body, headers, gateway.settings)
    except LikenessError as error:
        return Outcome(error.detail, try_again=False)


def _settle(gateway: Gateway, delivery: WebhookDelivery, outcome: Outcome) -> None:
    now = utc_now()
    values: dict[str, Any] = {"last_error": outcome.error}
    if outcome.error is None:
        values |= {"delivered_at": now, "next_at": None}
    else:
        values["next_at"] = next_attempt_at(delivery, outcome, now)
    with gateway.database.session() as session:
        session.execute(
            update(WebhookDelivery)
            .where(WebhookDelivery.id == delivery.id, WebhookDelivery.next_at == delivery.next_at)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    kind = "delivered" if outcome.error is None else "given_up" if values["next_at"] is None else "failed"
    webhook_attempts_total.labels(outcome=kind).inc()
    if outcome.error is not None:
        _log.warning("webhook %s, attempt %d: %s", delivery.id, delivery.attempts, outcome.error)


def next_attempt_at(delivery: WebhookDelivery, outcome: Outcome, now: datetime) -> datetime | None:
    """Exponentially later each time, with a fifth of chance either way; None after a day, or when it is of no use."""
    if not outcome.try_again:
        return None
    delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * GROWTH ** (delivery.attempts - 1))
    delay_s *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
    delay_s = max(delay_s, min(outcome.retry_after_s or 0.0, MAX_DELAY_S))
    at = now + timedelta(seconds=delay_s)
    return at if at <= delivery.created_at + GIVE_UP_AFTER else None
