"""/v1/keys: who may use the API. A key is shown once, when it is made."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from apiflask import APIBlueprint
from pydantic import BaseModel, Field, field_validator
from sqlalchemy.orm import Session

from services.common.errors import LikenessError
from services.gateway.accounts import SCOPES, Scope, current_principal, needs
from services.gateway.accounts.secrets import make_key
from services.gateway.api.fields import (
    Deleted,
    Identifier,
    JsonBody,
    Name,
    PageOut,
    PageQuery,
    PointInTime,
    current_gateway,
    page_out,
    unix_seconds,
)
from services.gateway.api.reasons import fails_with
from services.gateway.db import ApiKey, Tenant, find, get_page
from services.gateway.db.models import utc_now
from services.gateway.idempotency import answer_is_secret
from services.gateway.ids import new_id

bp = APIBlueprint("keys", __name__, url_prefix="/v1/keys", tag="Accounts")
COMMON: Final[tuple[Scope, ...]] = tuple(scope for scope in SCOPES if scope not in ("attest", "admin"))
MAX_OVERLAP_S: Final = 30 * 24 * 3600
_NOT_REVOKED: Final = ApiKey.revoked_at.is_(None)


def _in_the_future(value: datetime | None) -> datetime | None:
    if value is not None and value <= utc_now():
        raise ValueError("this point in time has passed")
    return value


class KeyIn(JsonBody):
    """A key to be made."""

    name: Name = Field(description="What it is for.")
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] = Field(
        list(COMMON), description="What it allows; by default everything but `attest` and `admin`."
    )
    expires_at: PointInTime | None = Field(None, description="Until when; without it until it is deleted.")
    tenant: Identifier | None = Field(None, description="Of another tenant; for administrators of the tenant `local`.")

    _expiry = field_validator("expires_at")(_in_the_future)


class RotationIn(JsonBody):
    """How a key is replaced by a new one."""

    overlap_seconds: int = Field(3600, ge=0, le=MAX_OVERLAP_S, description="So long the old key stays valid.")
    expires_at: PointInTime | None = Field(
        None, description="Of the new key; by default it lives as long as the old one was meant to."
    )

    _expiry = field_validator("expires_at")(_in_the_future)


class KeyOut(BaseModel):
    """A key, without its secret."""

    id: str
    object: Literal["api_key"]
    created_at: int
    tenant: str
    name: str
    prefix: str = Field(description="The beginning of the key, by which it can be recognised.")
    scopes: list[Scope]
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Exact to a minute.")


class NewKeyOut(KeyOut):
    """A key that was just made."""

    key: str = Field(description="The key itself. It is not kept and cannot be shown again.")


class KeyQuery(PageQuery):
    """Which part of the list, of which tenant."""

    tenant: Identifier | None = Field(None, description="Another tenant; for administrators of the tenant `local`.")


def show_key(key: ApiKey) -> KeyOut:
    return KeyOut.model_validate(
        {
            "id": key.id,
            "object": "api_key",
            "created_at": unix_seconds(key.created_at),
            "tenant": key.tenant,
            "name": key.name,
            "prefix": key.prefix,
            "scopes": key.scopes,
            "expires_at": key.expires_at,
            "last_used_at": key.last_used_at,
        }
    )


@bp.post("")
@bp.input(KeyIn, arg_name="body")
@bp.output(NewKeyOut, status_code=201)
@bp.doc(
    summary="Make an API key",
    description="The answer is the only place where the key itself is shown.",
    operation_id="create_key",
)
@fails_with("NOT_FOUND")
@needs("admin")
@answer_is_secret
def create_key(body: KeyIn) -> NewKeyOut:
    with current_gateway().database.session() as session:
        tenant = _tenant_asked_for(session, body.tenant)
        scopes = [scope for scope in SCOPES if scope in body.scopes]
        return _add_key(session, tenant=tenant, name=body.name, scopes=scopes, expires_at=body.expires_at)


@bp.get("")
@bp.input(KeyQuery, location="query", arg_name="page")
@bp.output(PageOut[KeyOut])
@bp.doc(summary="List API keys", operation_id="list_keys")
@fails_with("NOT_FOUND")
@needs("admin")
def list_keys(page: KeyQuery) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        tenant = _tenant_asked_for(session, page.tenant)
        found = get_page(session, ApiKey, tenant, _NOT_REVOKED, after=page.after, limit=page.limit)
        return page_out(found, show_key)


@bp.get("/<key_id>")
@bp.output(KeyOut)
@bp.doc(summary="Get an API key", description="Without its secret.", operation_id="get_key")
@fails_with("NOT_FOUND")
@needs("admin")
def get_key(key_id: str) -> KeyOut:
    with current_gateway().database.session() as session:
        return show_key(_find_key(session, key_id))


@bp.post("/<key_id>/rotate")
@bp.input(RotationIn, arg_name="body")
@bp.output(NewKeyOut, status_code=201)
@bp.doc(
    summary="Replace an API key",
    description="Makes a new key with the same name and scopes. The old one stays valid for the overlap.",
    operation_id="rotate_key",
)
@fails_with("NOT_FOUND")
@needs("admin")
@answer_is_secret
def rotate_key(key_id: str, body: RotationIn) -> NewKeyOut:
    now = utc_now()
    with current_gateway().database.session() as session:
        old = _find_key(session, key_id)
        expires_at = body.expires_at
        if expires_at is None and old.expires_at is not None:
            expires_at = now + (old.expires_at - old.created_at)
        ends_at = now + timedelta(seconds=body.overlap_seconds)
        old.expires_at = ends_at if old.expires_at is None else min(ends_at, old.expires_at)
        return _add_key(session, tenant=old.tenant, name=old.name, scopes=old.scopes, expires_at=expires_at)


@bp.delete("/<key_id>")
@bp.output(Deleted)
@bp.doc(summary="Revoke an API key", description="From now on it opens nothing.", operation_id="delete_key")
@fails_with("NOT_FOUND")
@needs("admin")
def delete_key(key_id: str) -> dict[str, Any]:
    with current_gateway().database.session() as session:
        key = _find_key(session, key_id)
        key.revoked_at = utc_now()  # the record stays: the audit names it
        return {"id": key.id, "object": "api_key.deleted"}


def _find_key(session: Session, key_id: str) -> ApiKey:
    """A key of one's own tenant; operators find those of all."""
    principal, tenant = current_principal(), current_principal().tenant
    if principal.is_operator:
        found = session.get(ApiKey, key_id)
        tenant = tenant if found is None else found.tenant
    return find(session, ApiKey, tenant, key_id, _NOT_REVOKED, what="API key")


def _tenant_asked_for(session: Session, tenant: str | None) -> str:
    """Raises LikenessError NOT_FOUND, the same for a tenant that does not exist and one that is not the caller's."""
    principal = current_principal()
    if tenant is None or tenant == principal.tenant:
        return principal.tenant
    if principal.is_operator and session.get(Tenant, tenant) is not None:
        return tenant
    raise LikenessError("NOT_FOUND", f"There is no tenant {tenant!r}.", field="tenant")


def _add_key(session: Session, *, tenant: str, name: str, scopes: list[Any], expires_at: datetime | None) -> NewKeyOut:
    made = make_key()
    key = ApiKey(
        id=new_id("key"),
        tenant=tenant,
        created_at=utc_now(),
        name=name,
        prefix=made.prefix,
        sha256=made.sha256,
        scopes=scopes,
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return NewKeyOut(key=made.text, **show_key(key).model_dump())
