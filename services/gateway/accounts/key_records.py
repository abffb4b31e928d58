"""API keys in the database: whose key this is, and when it was used last."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from sqlalchemy import or_, select, update
from sqlalchemy.exc import OperationalError

from services.common.errors import LikenessError
from services.gateway.accounts.principal import LOCAL_ACTOR, SCOPES, Limits, Principal
from services.gateway.accounts.secrets import is_same_key, read_key
from services.gateway.context import Gateway
from services.gateway.db import LOCAL_TENANT, ApiKey, Tenant
from services.gateway.db.models import utc_now

USE_NOTED_EVERY: Final = timedelta(minutes=1)
_UNKNOWN: Final = "The API key is not known. Check it, or make another one with `likeness keys create`."
_log: Final = logging.getLogger(__name__)


def principal_of_key(gateway: Gateway, text: str) -> Principal:
    """Whose key that is.

    Raises:
        LikenessError: UNAUTHENTICATED for a key that is unknown, expired or revoked; TENANT_DISABLED.
    """
    try:
        key = read_key(text)
    except ValueError as error:
        raise LikenessError("UNAUTHENTICATED", _UNKNOWN) from error
    query = (
        select(
            ApiKey.id,
            ApiKey.tenant,
            ApiKey.sha256,
            ApiKey.scopes,
            ApiKey.expires_at,
            ApiKey.revoked_at,
            ApiKey.last_used_at,
            Tenant.limits,
            Tenant.disabled_at,
        )
        .join(Tenant, Tenant.id == ApiKey.tenant)
        .where(ApiKey.prefix == key.prefix)
    )
    with gateway.database.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if not is_same_key(key, row.sha256 if row else None) or row is None:
        raise LikenessError("UNAUTHENTICATED", _UNKNOWN)
    now = utc_now()
    if row.revoked_at is not None and row.revoked_at <= now:
        raise LikenessError("UNAUTHENTICATED", "The API key was revoked.")
    if row.expires_at is not None and row.expires_at <= now:
        raise LikenessError("UNAUTHENTICATED", "The API key has expired.")
    if row.disabled_at is not None:
        raise LikenessError("TENANT_DISABLED", "This tenant is disabled. Its operator can enable it again.")
    if row.last_used_at is None or row.last_used_at <= now - USE_NOTED_EVERY:
        _note_use(gateway, row.id)
    return Principal(
        tenant=row.tenant,
        actor=row.id,
        scopes=frozenset(scope for scope in SCOPES if scope in row.scopes),
        key_id=row.id,
        limits=Limits.of(gateway.settings, row.limits),
    )


def principal_of_local(gateway: Gateway) -> Principal:
    """Whoever is on this machine, where that is enough."""
    query = select(Tenant.limits, Tenant.disabled_at).where(Tenant.id == LOCAL_TENANT)
    with gateway.database.engine.connect() as connection:
        row = connection.execute(query).one()
    limits = Limits.of(gateway.settings, {"requests_per_minute": 0, **row.limits})  # the settings' is of keys
    return Principal(LOCAL_TENANT, LOCAL_ACTOR, frozenset(SCOPES), None, limits)


def _note_use(gateway: Gateway, key_id: str) -> None:
    """At most once a minute, whatever the number of processes that see the key."""
    now = utc_now()
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USE_NOTED_EVERY)
    try:
        with gateway.database.engine.begin() as connection:
            connection.execute(update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now))
    except OperationalError:
        _log.warning("the last use of key %s could not be noted", key_id, exc_info=True)
