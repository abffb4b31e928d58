"""The file of results: a line for each item, in the order of the input, in the shape of OpenAI's batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from services.common.errors import REASONS
from services.gateway.db import Job

if TYPE_CHECKING:
    from services.gateway.context import Gateway

CONTENT_TYPE: Final = "application/jsonl"
BLOCK: Final = 500
_CREATED: Final = {"speech": 200, "swap": 201}  # what the endpoints answer


def write_results(gateway: Gateway, batch_id: str, out: Path) -> dict[str, Any]:
    """Writes what became of every item, and returns the batch's figures.

    The same items give the same bytes: whoever does it again does no harm.
    """
    counts = {"items": 0, "succeeded": 0, "failed": 0, "canceled": 0}
    with out.open("w", encoding="utf-8") as file:
        for item in _items(gateway, batch_id):
            counts["items"] += 1
            if item.state in counts:
                counts[item.state] += 1
            file.write(json.dumps(_line(item), ensure_ascii=False, separators=(",", ":")) + "\n")
    return counts


def _items(gateway: Gateway, batch_id: str) -> Iterator[Job]:
    after = -1
    while True:
        block = select(Job).where(Job.batch_id == batch_id, Job.batch_index > after)
        with gateway.database.session() as session:
            found = list(session.scalars(block.order_by(Job.batch_index).limit(BLOCK)))
        yield from found
        if len(found) < BLOCK:
            return
        after = found[-1].batch_index or 0


def _line(item: Job) -> dict[str, Any]:
    """`error` is null exactly for what succeeded; then `response.body` names the job and its media."""
    status, body, error = _CREATED.get(item.kind, 200), _body(item), None
    if item.state != "succeeded":
        told = item.error or {"reason": "CANCELLED", "detail": "The batch ended before this was begun.", "field": None}
        reason = str(told["reason"])
        status = REASONS[reason].http_status if reason in REASONS else 500
        body = _problem(item, told, status)
        error = {"code": reason.lower(), "message": told["detail"]}
    response = {"status_code": status, "request_id": item.request_id, "body": body}
    return {"id": item.id, "custom_id": item.custom_id, "response": response, "error": error}


def _body(item: Job) -> dict[str, Any]:
    return {
        "id": item.id,
        "object": item.kind,
        "status": item.state,
        "media": item.media_id,
        "media_url": None if item.media_id is None else f"/v1/media/{item.media_id}",
        **({"timestamps_url": f"/v1/jobs/{item.id}/timestamps"} if item.parameters.get("timestamps") else {}),
        "figures": item.figures,
    }


def _problem(item: Job, told: dict[str, Any], status: int) -> dict[str, Any]:
    """As the endpoint would have answered (RFC 9457)."""
    reason = str(told["reason"])
    return {
        "type": "/problems/" + reason.lower().replace("_", "-"),
        "title": REASONS[reason].title if reason in REASONS else reason,
        "status": status,
        "detail": told["detail"],
        "reason": reason,
        "request_id": item.request_id,
        "field": told.get("field"),
    }
