"""Principals are kept for a second, and not a moment longer than what they rest on."""

from __future__ import annotations

import pytest

from services.gateway.accounts import principal_cache
from services.gateway.accounts.principal import Limits, Principal
from services.gateway.accounts.principal_cache import PrincipalCache
from services.gateway.settings import GatewaySettings


def principal(actor: str) -> Principal:
    return Principal("local", actor, frozenset(), actor, Limits.of(GatewaySettings(), {}))


def test_one_who_asks_again_is_not_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(principal_cache.time, "monotonic", lambda: now[0])
    cache, looked_up = PrincipalCache(), []

    def look_up() -> Principal:
        looked_up.append(now[0])
        return principal("a")

    for moment in (100.0, 100.5, 100.99, 101.01, 101.5):
        now[0] = moment
        assert cache.get("key", look_up).actor == "a"
    assert looked_up == [100.0, 101.01]
    assert cache.get("other", lambda: principal("b")).actor == "b"


def test_refusals_are_not_kept() -> None:
    cache = PrincipalCache()

    def refuse() -> Principal:
        raise PermissionError

    with pytest.raises(PermissionError):
        cache.get("key", refuse)
    assert cache.get("key", lambda: principal("a")).actor == "a"


def test_what_was_looked_up_before_a_change_is_not_kept_after_it() -> None:
    cache = PrincipalCache()

    def revoked_meanwhile() -> Principal:
        cache.clear()
        return principal("old")

    assert cache.get("key", revoked_meanwhile).actor == "old"
    assert cache.get("key", lambda: principal("new")).actor == "new"


def test_it_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principal_cache, "MAX_ENTRIES", 10)
    cache = PrincipalCache()
    for number in range(100):
        cache.get(number, lambda: principal("a"))
    assert len(cache._found) <= 10
