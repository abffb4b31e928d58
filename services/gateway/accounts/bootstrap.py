"""Before the first request: the key of the settings, and whether it is safe to listen at all."""

from __future__ import annotations

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from services.gateway.accounts.principal import SCOPES
from services.gateway.accounts.secrets import NewKey, read_key
from services.gateway.context import Gateway
from services.gateway.db import LOCAL_TENANT, ApiKey
from services.gateway.db.models import utc_now
from services.gateway.ids import new_id
from services.gateway.origins import ANY


def make_bootstrap_key(gateway: Gateway) -> None:
    """Records the key of the settings, unless it is there already, in whatever state.

    Raises:
        ValueError: it does not look like a key.
    """
    text = gateway.settings.bootstrap_key
    if not text:
        return
    try:
        key = read_key(text)
    except ValueError as error:
        raise ValueError(f"LIKENESS_BOOTSTRAP_KEY is not an API key: {error}.") from error
    with gateway.database.session() as session:
        if session.scalar(select(ApiKey.id).where(ApiKey.prefix == key.prefix)) is not None:
            return
    try:
        with gateway.database.session() as session:
            session.add(local_key(key, "bootstrap"))
    except IntegrityError:  # another gateway was first
        return


def local_key(key: NewKey, name: str) -> ApiKey:
    """A record of a key that may do everything in the tenant that is there from the beginning."""
    return ApiKey(
        id=new_id("key"),
        tenant=LOCAL_TENANT,
        created_at=utc_now(),
        name=name,
        prefix=key.prefix,
        sha256=key.sha256,
        scopes=list(SCOPES),
    )


def has_keys(gateway: Gateway) -> bool:
    """Whether there is a key with which anybody could get in."""
    now = utc_now()
    live = (
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now),
        or_(ApiKey.revoked_at.is_(None), ApiKey.revoked_at > now),
    )
    with gateway.database.session() as session:
        return session.scalar(select(ApiKey.id).where(*live).limit(1)) is not None


def refusal_to_listen(gateway: Gateway) -> str | None:
    """Why this gateway must not be served, or None when it may."""
    settings = gateway.settings
    if settings.is_open and ANY in settings.cors_origins:
        return (
            "LIKENESS_CORS_ORIGINS has *, and no key is needed here: every site on the web could use this gateway "
            "through its visitors. Name the origins, or set LIKENESS_AUTH=keys."
        )
    if settings.is_loopback or settings.is_open or settings.oidc_issuer or has_keys(gateway):
        return None
    return (
        f"LIKENESS_HOST={settings.host} is reached from the network, and there is no API key yet. Make one with "
        "`likeness keys create --local`, or give one in LIKENESS_BOOTSTRAP_KEY, or keep LIKENESS_HOST=127.0.0.1. Where "
        "something in front of the gateway asks who is there, set LIKENESS_ALLOW_UNAUTHENTICATED=true."
    )
