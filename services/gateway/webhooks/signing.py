"""The tenant's secret, and signatures with it: https://www.standardwebhooks.com, symmetric (`v1`, HMAC-SHA256)."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from standardwebhooks.webhooks import Webhook

from services.gateway.db import Tenant
from services.gateway.db.models import utc_now

SECRET_BYTES: Final = 32
OVERLAP: Final = timedelta(days=1)  # after a rotation receivers may still know the old secret alone


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def rotate_secret(tenant: Tenant) -> None:
    """Gives the tenant a new secret. For a day messages are signed with the old one, too."""
    tenant.webhook_old_secret = tenant.webhook_secret
    tenant.webhook_old_secret_until = utc_now() + OVERLAP
    tenant.webhook_secret = new_secret()


def secrets_of(tenant: Tenant) -> list[str]:
    """What a message of now is signed with."""
    found = [tenant.webhook_secret]
    until = tenant.webhook_old_secret_until
    if tenant.webhook_old_secret is not None and until is not None and utc_now() < until:
        found.append(tenant.webhook_old_secret)
    return found


def signed_headers(message_id: str, body: str, signing_secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The three headers of the scheme, with one signature per secret."""
    signatures = [Webhook(secret).sign(message_id, now, body) for secret in signing_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
