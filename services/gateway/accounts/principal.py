"""The one who asks: of which tenant, as whom, with which scopes, within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from services.gateway.db import LOCAL_TENANT
from services.gateway.settings import GatewaySettings

Scope = Literal["read", "voices", "faces", "speech", "swaps", "jobs", "media", "attest", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
STRANGERS: Final = ""  # the tenant of who has no key, which nothing belongs to
LOCAL_ACTOR: Final = "local"  # in the audit: somebody on this machine, who needs no key


@dataclass(frozen=True)
class Limits:
    """What a tenant may take; None is without limit.

    requests_per_minute holds for each key, the others for the whole tenant: concurrent_jobs are queued and processing,
    parallel_jobs of the queued ones are worked on at the same time.
    """

    requests_per_minute: int | None
    concurrent_jobs: int | None
    parallel_jobs: int | None
    media_ttl_days: float | None

    @classmethod
    def of(cls, settings: GatewaySettings, own: Mapping[str, Any]) -> Limits:
        """The settings', with what the tenant's record says instead; 0 is without limit."""
        defaults = {
            "requests_per_minute": settings.requests_per_minute,
            "concurrent_jobs": settings.concurrent_jobs,
            "parallel_jobs": settings.tenant_parallel_jobs,
            "media_ttl_days": settings.media_ttl_days,
        }
        return cls(**{name: own.get(name, value) or None for name, value in defaults.items()})


@dataclass(frozen=True)
class Principal:
    """Who made the request. `actor` is the id of a key, the subject of a token, or `local`."""

    tenant: str
    actor: str
    scopes: frozenset[Scope]
    key_id: str | None
    limits: Limits

    @property
    def is_operator(self) -> bool:
        """Administrators of the tenant that is there from the beginning look after all others."""
        return self.tenant == LOCAL_TENANT and "admin" in self.scopes


def stranger(address: str, requests_per_minute: int) -> Principal:
    """Who asks without a key, from that address; the audit does not keep it."""
    limits = Limits(requests_per_minute, concurrent_jobs=None, parallel_jobs=None, media_ttl_days=None)
    return Principal(STRANGERS, "stranger", frozenset(), f"address:{address}", limits)
