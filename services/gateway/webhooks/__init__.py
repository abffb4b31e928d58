"""Webhooks: what happened to a job, told to an address that its request named, signed by the Standard Webhooks scheme.

A message is written into the outbox (`webhook_deliveries`) in the transaction that ends the job, and sent by any worker
until its receiver has taken it, or for a day: at least once, possibly more than once, always under the same
`webhook-id`.
"""

from services.gateway.webhooks.addresses import check_webhook_url
from services.gateway.webhooks.outbox import deliver_due, enqueue_webhook
from services.gateway.webhooks.signing import new_secret, rotate_secret

__all__ = ["check_webhook_url", "deliver_due", "enqueue_webhook", "new_secret", "rotate_secret"]
