"""How long answers are kept for their idempotency keys; apart from the rest, which is about HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select

from services.gateway.context import Gateway
from services.gateway.db import IdempotencyRecord, Process
from services.gateway.db.models import utc_now

KEPT_FOR: Final = timedelta(hours=24)


def sweep_idempotency(gateway: Gateway) -> int:
    """Deletes records of more than a day, and those of requests whose process is gone; how many."""
    now = utc_now()
    abandoned = (
        IdempotencyRecord.status.is_(None),
        IdempotencyRecord.owner.not_in(select(Process.id)),
        IdempotencyRecord.created_at < now - timedelta(seconds=gateway.settings.process_stale_s),
    )
    with gateway.database.session() as session:
        old = session.execute(delete(IdempotencyRecord).where(IdempotencyRecord.created_at < now - KEPT_FOR))
        gone = session.execute(delete(IdempotencyRecord).where(*abandoned))
    return int(getattr(old, "rowcount", 0)) + int(getattr(gone, "rowcount", 0))
