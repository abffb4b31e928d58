"""Who asks, and what they may: tenants, keys, tokens, scopes, limits."""

from services.gateway.accounts.authentication import SOCKET_PROTOCOL, current_principal, register_authentication
from services.gateway.accounts.marks import needs, open_to_strangers, public, scopes_needed, starts_job
from services.gateway.accounts.principal import SCOPES, Limits, Principal, Scope

__all__ = [
    "SCOPES",
    "SOCKET_PROTOCOL",
    "Limits",
    "Principal",
    "Scope",
    "current_principal",
    "needs",
    "open_to_strangers",
    "public",
    "register_authentication",
    "scopes_needed",
    "starts_job",
]
