"""What was deleted or revoked on request, where a restored backup finds it: an object in the store for each.

The database cannot be the place: restoring replaces it. Files that are deleted by age are not here, as they would be
deleted again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, get_args

from services.common.store import ObjectStore
from services.gateway.db.models import utc_now

Deleted = Literal["voice", "face", "media", "job", "protected", "consent"]
PREFIX: Final = "deletions/"
KINDS: Final[tuple[Deleted, ...]] = get_args(Deleted)


def entomb(store: ObjectStore, kind: Deleted, record_id: str) -> None:
    """Written before the deletion, so that none goes unrecorded. Raises LikenessError STORE_UNAVAILABLE."""
    store.put(f"{PREFIX}{kind}/{record_id}", utc_now().isoformat().encode(), "text/plain")


def entombed(store: ObjectStore, kind: Deleted) -> Iterator[str]:
    """Ids of all that was deleted of a kind."""
    prefix = f"{PREFIX}{kind}/"
    for item in store.keys(prefix):
        yield item.key.removeprefix(prefix)
