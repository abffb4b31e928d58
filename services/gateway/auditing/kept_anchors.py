"""Anchors of the audit that are taken by themselves, and kept in the object store: apart from the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from services.gateway.auditing.anchors import MAX_ANCHOR_BYTES, Anchor, AnchorError, read_anchor, take_anchor
from services.gateway.auditing.chain import head
from services.gateway.context import Gateway
from services.gateway.db.models import utc_now

PREFIX: Final = "audit/anchors/"
INTERVAL: Final = timedelta(hours=1)
NEWEST: Final = 1000  # with so many a check compares


def keep_anchor(gateway: Gateway) -> bool:
    """Takes an anchor, unless the last one is young or nothing was written since; whether it did."""
    last = max(gateway.store.keys(PREFIX), key=lambda item: item.key, default=None)
    if last is not None and last.modified_at > utc_now() - INTERVAL:
        return False
    with gateway.database.engine.connect() as connection:
        seq, _ = head(connection)
    key = f"{PREFIX}{seq:012d}.jws"
    if seq == 0 or (last is not None and last.key >= key):
        return False
    gateway.store.put(key, take_anchor(gateway.database, gateway.keys.receipts).encode(), "application/jose")
    return True


def kept_anchors(gateway: Gateway) -> list[Anchor]:
    """The newest ones. What is not signed by this installation is left out: it says nothing.

    Raises:
        LikenessError: STORE_UNAVAILABLE.
    """
    keys = sorted((item.key for item in gateway.store.keys(PREFIX)), reverse=True)[:NEWEST]
    found = []
    for key in keys:
        try:
            text = gateway.store.get(key, MAX_ANCHOR_BYTES).decode("ascii", "replace")
            found.append(read_anchor(text, [gateway.keys.receipts.public_key()]))
        except AnchorError:
            continue
    return found
