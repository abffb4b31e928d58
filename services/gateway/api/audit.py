"""/v1/audit: who did what."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field, StringConstraints

from services.common.errors import LikenessError
from services.gateway.accounts import current_principal, needs
from services.gateway.admission import takes_place
from services.gateway.api.fields import (
    Identifier,
    JsonBody,
    PageOut,
    PageQuery,
    current_gateway,
    current_tenant,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import fails_with
from services.gateway.auditing.anchors import MAX_ANCHOR_BYTES, AnchorError, public_pem, read_anchor, take_anchor
from services.gateway.auditing.check import check_audit
from services.gateway.auditing.kept_anchors import kept_anchors
from services.gateway.db import LOCAL_TENANT, AuditEntry, get_page

bp = APIBlueprint("audit", __name__, url_prefix="/v1/audit", tag="Accounts")

AnchorText = Annotated[str, StringConstraints(max_length=MAX_ANCHOR_BYTES, pattern=r"^[^\x00]+$")]


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
    status: int = Field(description="HTTP status of the answer; 200 where there was none.")
    details: dict[str, Any] | None = Field(
        description="More of it, such as `reason` of a refusal, and `output`: mark and SHA-256 of what was released."
    )
    seq: int | None = Field(description="Its place in the chain of all tenants' entries; for operators.")
    sha256: str | None = Field(description="Over the entry and the hash of the one before it.")


class AnchorOut(BaseModel):
    """How the audit ended at some time, signed."""

    object: Literal["audit_anchor"] = "audit_anchor"
    anchor: str = Field(description="Compact JWS (RFC 7515) of what follows, signed with Ed25519.")
    seq: int
    sha256: str
    time: str
    public_key: str = Field(description="That verifies it, in PEM.")


class VerificationIn(JsonBody):
    """Anchors that were taken before."""

    anchors: list[AnchorText] = Field(default_factory=list, max_length=1000)


class FindingOut(BaseModel):
    """A place where the audit is not what was written."""

    seq: int
    what: Literal["missing", "changed", "moved", "unreadable", "rewritten", "cut"]
    detail: str


class VerificationOut(BaseModel):
    """What a check of the whole audit found."""

    object: Literal["audit_verification"] = "audit_verification"
    intact: bool = Field(description="Nothing was found.")
    entries: int
    unchained: int = Field(description="Entries of older versions that have no place in the chain yet.")
    head_seq: int
    head_sha256: str
    anchors: int = Field(description="With how many it was compared: those sent, and those kept in the object store.")
    findings: list[FindingOut] = Field(description="100 at most.")


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
            "details": entry.details,
            "seq": entry.seq if current_principal().is_operator else None,
            "sha256": entry.sha256,
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


@bp.get("/anchor")
@bp.output(AnchorOut)
@bp.doc(
    summary="Take an anchor of the audit",
    description="The number and hash of the last entry, of all tenants, signed. Keep it where nobody can change it: "
    "later it shows whether anything before it was changed, removed or added. For operators.",
    operation_id="get_audit_anchor",
)
@needs("admin")
def get_anchor() -> dict[str, Any]:
    _need_operator()
    gateway = current_gateway()
    key = gateway.keys.receipts
    text = take_anchor(gateway.database, key)
    anchor = read_anchor(text, [key.public_key()])
    return {
        "object": "audit_anchor",
        "anchor": text,
        "seq": anchor.seq,
        "sha256": anchor.sha256,
        "time": anchor.taken_at,
        "public_key": public_pem(key.public_key()),
    }


@bp.post("/verify")
@bp.input(VerificationIn, arg_name="body")
@bp.output(VerificationOut)
@bp.doc(
    summary="Verify the audit",
    description="Reads the whole chain, of all tenants, and compares it with anchors. For operators. The server is "
    "asked to check itself: who does not trust it runs `likeness audit verify --database` on a copy.",
    operation_id="verify_audit",
)
@fails_with("INVALID_FIELD", "QUEUE_FULL", "STORE_UNAVAILABLE")
@needs("admin")
@takes_place
def verify(body: VerificationIn) -> dict[str, Any]:
    _need_operator()
    gateway = current_gateway()
    keys = [gateway.keys.receipts.public_key()]
    try:
        anchors = [read_anchor(text, keys) for text in body.anchors]
    except AnchorError as error:
        raise LikenessError("INVALID_FIELD", f"One of them is not usable: {error}.", field="anchors") from error
    report = check_audit(gateway.database, [*anchors, *kept_anchors(gateway)])
    return {"object": "audit_verification", "intact": report.is_intact, **asdict(report)}


def _need_operator() -> None:
    if not current_principal().is_operator:
        detail = f"The chain is of all tenants: only administrators of the tenant `{LOCAL_TENANT}` may."
        raise LikenessError("INSUFFICIENT_SCOPE", detail)
