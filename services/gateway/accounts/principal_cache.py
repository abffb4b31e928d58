"""Principals for a moment: somebody who asks again and again is looked up in the database once a second.

A key that is revoked, or a tenant that is disabled, is refused at once by the process that did it, and by others within
that second. Refusals are not kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from apiflask import APIFlask
from flask import Response, request

from services.gateway.accounts.principal import Principal

TTL_S: Final = 1.0
MAX_ENTRIES: Final = 1000
_CHANGING: Final = ("keys", "tenants")  # blueprints
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class PrincipalCache:
    """Principals by what they were recognised by. Threads may use it at the same time."""

    def __init__(self) -> None:
        self._found: dict[object, tuple[float, Principal]] = {}
        self._generation = 0

    def get(self, key: object, look_up: Callable[[], Principal]) -> Principal:
        """What `look_up` returns, or returned within the last second."""
        kept = self._found.get(key)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        generation = self._generation
        principal = look_up()
        if len(self._found) >= MAX_ENTRIES:
            self._found.clear()
        if generation == self._generation:  # else something changed while it was looked up
            self._found[key] = (time.monotonic() + TTL_S, principal)
        return principal

    def clear(self) -> None:
        self._generation += 1
        self._found.clear()


def register_principal_cache(app: APIFlask) -> None:
    cache = app.extensions["likeness_principals"] = PrincipalCache()

    def forget(response: Response) -> Response:
        if request.blueprint in _CHANGING and request.method not in _SAFE:
            cache.clear()
        return response

    app.after_request(forget)
