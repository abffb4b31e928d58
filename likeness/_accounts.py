"""Keys and tenants: who may use a gateway, and how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from likeness._resources import Collection
from likeness._transport import without_none
from likeness._types import _FromJson


@dataclass(frozen=True)
class ApiKey(_FromJson):
    """A key. `key` is the key itself, only where it was just made; it cannot be shown again."""

    id: str
    name: str
    tenant: str
    prefix: str
    scopes: list[str]
    created_at: int  # Unix seconds
    expires_at: str | None = None
    last_used_at: str | None = None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Tenant(_FromJson):
    """Whose records they are. A limit of None is none."""

    id: str
    created_at: int  # Unix seconds
    limits: Mapping[str, Any] = field(default_factory=dict)
    disabled_at: str | None = None


@dataclass(frozen=True)
class AuditEntry(_FromJson):
    """One request that changed something, or was refused to."""

    id: str
    created_at: int  # Unix seconds
    actor: str
    action: str
    object_id: str | None
    request_id: str
    status: int
    details: Mapping[str, Any] | None = None
    seq: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class AuditAnchor(_FromJson):
    """The last entry of the audit at some time, signed: a compact JWS, and what is in it."""

    anchor: str
    seq: int
    sha256: str
    time: str
    public_key: str  # PEM


@dataclass(frozen=True)
class AuditVerification(_FromJson):
    """What a check of the whole audit found: of each finding "seq", "what" and "detail"."""

    intact: bool
    entries: int
    unchained: int
    head_seq: int
    head_sha256: str
    anchors: int
    findings: Sequence[Mapping[str, Any]] = ()


class Keys(Collection):
    """`client.keys`; needs the scope `admin`."""

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str] | None = None,
        expires_at: str | None = None,
        tenant: str | None = None,
    ) -> ApiKey:
        """Makes a key, which the answer alone shows.

        Args:
            name: what it is for.
            scopes: what it allows; by default everything but "attest" and "admin".
            expires_at: RFC 3339 time; without it until it is revoked.
            tenant: another tenant's, for administrators of the tenant "local".
        """
        scopes = None if scopes is None else list(scopes)
        body = without_none({"name": name, "scopes": scopes, "expires_at": expires_at, "tenant": tenant})
        return ApiKey.from_json(self._transport.json("POST", self._path, json=body))

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        """All keys that are not revoked, newest first."""
        return [ApiKey.from_json(item) for item in self._pages(tenant=tenant)]

    def get(self, key: str) -> ApiKey:
        """The key of that id."""
        return ApiKey.from_json(self._get(key))

    def rotate(self, key: str, *, overlap_seconds: int | None = None, expires_at: str | None = None) -> ApiKey:
        """A new key in place of the one of that id, which stays valid for the overlap: an hour by default."""
        body = without_none({"overlap_seconds": overlap_seconds, "expires_at": expires_at})
        return ApiKey.from_json(self._transport.json("POST", f"{self._path}/{key}/rotate", json=body))

    def revoke(self, key: str) -> None:
        """From now on the key of that id opens nothing."""
        self._transport.json("DELETE", f"{self._path}/{key}")


class Tenants(Collection):
    """`client.tenants`; for administrators of the tenant "local"."""

    def create(self, tenant: str, *, limits: Mapping[str, Any] | None = None) -> Tenant:
        """Makes a tenant of that id. Its first key is made with `client.keys.create(..., tenant=...)`."""
        body = without_none({"id": tenant, "limits": limits})
        return Tenant.from_json(self._transport.json("POST", self._path, json=body))

    def list(self) -> list[Tenant]:
        return [Tenant.from_json(item) for item in self._pages()]

    def get(self, tenant: str) -> Tenant:
        return Tenant.from_json(self._get(tenant))

    def update(self, tenant: str, *, limits: Mapping[str, Any] | None = None, disabled: bool | None = None) -> Tenant:
        """Changes the limits that are named (None: as in the gateway's settings), disables, enables."""
        body = without_none({"limits": limits, "disabled": disabled})
        return Tenant.from_json(self._transport.json("PATCH", f"{self._path}/{tenant}", json=body))


class Audit(Collection):
    """`client.audit`; needs the scope `admin`."""

    def list(
        self, *, actor: str | None = None, object_id: str | None = None, limit: int | None = None
    ) -> list[AuditEntry]:
        """What was done, newest first: by that actor, to that object."""
        return [AuditEntry.from_json(item) for item in self._pages(limit, actor=actor, object_id=object_id)]

    def anchor(self) -> AuditAnchor:
        """The audit's end as it is now, signed. For administrators of the tenant "local"."""
        return AuditAnchor.from_json(self._transport.json("GET", f"{self._path}/anchor"))

    def verify(self, anchors: Sequence[str] = ()) -> AuditVerification:
        """Lets the server check the whole chain, and that anchors taken before still fit."""
        found = self._transport.json("POST", f"{self._path}/verify", json={"anchors": [*anchors]})
        return AuditVerification.from_json(found)
