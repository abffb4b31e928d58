"""/v1/audit: who did what."""

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
from services.gateway.db import AuditEntry, get_page

bp = APIBlueprint("audit", __name__, url_prefix="/v1/audit", tag="Accounts")


class AuditQuery(PageQuery):
    """Which part of the list."""

    actor: Identifier | None = Field(None, description="Only what this key or subject did.")
    object_id: Identifier | None = Field(None, description="Only what was done to this object.")


class AuditOut(BaseModel):
    """One request that changed something, or was refused to."""

    id: str
    object: Literal["audit_entry"]
    created_at: int
    actor: str = Field(description="Id of an API key, subject of a token, or `local`.")
    action: str = Field(description="The operation's id in the OpenAPI document.")
    object_id: str | None
    request_id: str
    status: int = Field(description="HTTP status of the answer.")


def show_entry(entry: AuditEntry) -> AuditOut:
    return AuditOut.model_validate(
        {
            "id": entry.id,
            "object": "audit_entry",
            "created_at": unix_seconds(entry.created_at),
            "actor": entry.actor,
            "action": entry.action,
            "object_id": entry.object_id,
            "request_id": entry.request_id,
            "status": entry.status,
        }
    )


@bp.get("")
@bp.input(AuditQuery, location="query", arg_name="page")
@bp.output(PageOut[AuditOut])
@bp.doc(
    summary="List what was done",
    description="Every request that changes something, of this tenant, newest first. Entries are never changed.",
    operation_id="list_audit",
)
@needs("admin")
def list_audit(page: AuditQuery) -> dict[str, Any]:
    conditions = [
        column == value
        for column, value in ((AuditEntry.actor, page.actor), (AuditEntry.object_id, page.object_id))
        if value is not None
    ]
    with current_gateway().database.session() as session:
        found = get_page(session, AuditEntry, current_tenant(), *conditions, after=page.after, limit=page.limit)
        return page_out(found, show_entry)
