"""/v1/tenants: whose records they are, and how much they may take."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.accounts import Limits, current_principal, needs
from services.gateway.api.fields import JsonBody, PageOut, PageQuery, current_gateway, page_out, unix_seconds
from services.gateway.api.reasons import fails_with
from services.gateway.db import LOCAL_TENANT, Page, Tenant
from services.gateway.db.models import utc_now
from services.gateway.webhooks.signing import new_secret

bp = APIBlueprint("tenants", __name__, url_prefix="/v1/tenants", tag="Accounts")
TenantId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


class LimitsIn(JsonBody):
    """What differs from the gateway's settings. 0 is without limit; null is as in the settings."""

    requests_per_minute: int | None = Field(None, ge=0, le=10_000_000, description="Of each key.")
    concurrent_jobs: int | None = Field(None, ge=0, le=10_000_000, description="Queued and processing.")
    parallel_jobs: int | None = Field(None, ge=1, le=10_000, description="Of the queued, worked on at once.")
    media_ttl_days: float | None = Field(None, ge=0, le=36_500, description="Age at which files are deleted.")


class TenantIn(JsonBody):
    """A tenant to be made."""

    id: TenantId = Field(description="Small letters, digits and hyphens, at most 63.")
    limits: LimitsIn | None = None


class TenantChange(JsonBody):
    """What is to be different; what is not named stays."""

    limits: LimitsIn | None = Field(None, description="Those that are named; null goes back to the settings.")
    disabled: bool | None = Field(None, description="Keys of a disabled tenant open nothing.")


class LimitsOut(BaseModel):
    """The limits that hold; null is without limit."""

    requests_per_minute: int | None
    concurrent_jobs: int | None
    parallel_jobs: int | None
    media_ttl_days: float | None


class TenantOut(BaseModel):
    """A tenant."""

    id: str
    object: Literal["tenant"]
    created_at: int
    limits: LimitsOut
    disabled_at: datetime | None


def show_tenant(tenant: Tenant) -> TenantOut:
    limits = Limits.of(current_gateway().settings, tenant.limits)
    return TenantOut.model_validate(
        {
            "id": tenant.id,
            "object": "tenant",
            "created_at": unix_seconds(tenant.created_at),
            "limits": {name: getattr(limits, name) for name in LimitsOut.model_fields},
            "disabled_at": tenant.disabled_at,
        }
    )


@bp.post("")
@bp.input(TenantIn, arg_name="body")
@bp.output(TenantOut, status_code=201)
@bp.doc(
    summary="Make a tenant",
    description="For administrators of the tenant `local`. Its first key is made with POST /v1/keys, naming it.",
    operation_id="create_tenant",
)
@fails_with("ALREADY_EXISTS")
@needs("admin")
def create_tenant(body: TenantIn) -> TenantOut:
    _need_operator()
    tenant = Tenant(
        id=body.id,
        created_at=utc_now(),
        limits=body.limits.model_dump(exclude_none=True) if body.limits else {},
        webhook_secret=new_secret(),
    )
    try:
        with current_gateway().database.session() as session:
            session.add(tenant)
    except IntegrityError as error:
        raise LikenessError("ALREADY_EXISTS", f"There is a tenant {body.id!r} already.", field="id") from error
    return show_tenant(tenant)


@bp.get("")
@bp.input(PageQuery, location="query", arg_name="page")
@bp.output(PageOut[TenantOut])
@bp.doc(
    summary="List tenants",
    description="Administrators of the tenant `local` see all, others their own.",
    operation_id="list_tenants",
)
@needs("admin")
def list_tenants(page: PageQuery) -> dict[str, Any]:
    principal = current_principal()
    with current_gateway().database.session() as session:
        order = (Tenant.created_at, Tenant.id)
        query = select(Tenant).order_by(*(column.desc() for column in order)).limit(page.limit + 1)
        if not principal.is_operator:
            query = query.where(Tenant.id == principal.tenant)
        if page.after is not None:
            last = session.get(Tenant, page.after)
            if last is None or not (principal.is_operator or last.id == principal.tenant):
                raise LikenessError("INVALID_FIELD", f"There is no tenant {page.after!r}.", field="after")
            query = query.where(tuple_(*order) < (last.created_at, last.id))
        found = list(session.scalars(query))
    return page_out(Page(found[: page.limit], has_more=len(found) > page.limit), show_tenant)


@bp.get("/<tenant_id>")
@bp.output(TenantOut)
@bp.doc(summary="Get a tenant", operation_id="get_tenant")
@fails_with("NOT_FOUND")
@needs("admin")
def get_tenant(tenant_id: str) -> TenantOut:
    with current_gateway().database.session() as session:
        return show_tenant(_find_tenant(session, tenant_id))


@bp.patch("/<tenant_id>")
@bp.input(TenantChange, arg_name="body")
@bp.output(TenantOut)
@bp.doc(
    summary="Change a tenant's limits, disable it, enable it",
    description="For administrators of the tenant `local`, which itself cannot be disabled.",
    operation_id="update_tenant",
)
@fails_with("NOT_FOUND")
@needs("admin")
def update_tenant(tenant_id: str, body: TenantChange) -> TenantOut:
    with current_gateway().database.session() as session:
        tenant = _find_tenant(session, tenant_id)
        _need_operator()
        if body.limits is not None:
            merged = tenant.limits | body.limits.model_dump(exclude_unset=True)
            tenant.limits = {name: value for name, value in merged.items() if value is not None}
        if body.disabled and tenant.id == LOCAL_TENANT:
            raise LikenessError("INVALID_FIELD", "Nobody could enable this tenant again.", field="disabled")
        if body.disabled is not None:
            tenant.disabled_at = (tenant.disabled_at or utc_now()) if body.disabled else None
        return show_tenant(tenant)


def _find_tenant(session: Session, tenant_id: str) -> Tenant:
    principal = current_principal()
    tenant = session.get(Tenant, tenant_id) if principal.is_operator or tenant_id == principal.tenant else None
    if tenant is None:
        raise LikenessError("NOT_FOUND", f"There is no tenant {tenant_id!r}.")
    return tenant


def _need_operator() -> None:
    if not current_principal().is_operator:
        detail = f"Only administrators of the tenant `{LOCAL_TENANT}` look after tenants."
        raise LikenessError("INSUFFICIENT_SCOPE", detail)
