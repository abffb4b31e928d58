"""The parts of benchmarks.scale: names, counts, and that a lost call or an uneven share would show."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dns.message
import dns.query
import dns.rdatatype
import pytest

from benchmarks.scale import Load, balance_error
from benchmarks.scale_fleet import NAME, Fleet, Names
from likeness.v1 import encoder_pb2, faceswap_pb2, synthesizer_pb2, vocoder_pb2
from services.common.client import UNARY_METHODS


def _ask(names: Names, name: str, kind: str = "A") -> list[str]:
    reply = dns.query.udp(dns.message.make_query(name, kind), "127.0.0.1", port=names.port, timeout=60)
    return [item.to_text() for answer in reply.answer for item in answer]


def test_balance_error_is_the_largest_distance_from_the_mean() -> None:
    assert balance_error({"a": 50, "b": 50}) == 0.0
    assert balance_error({"a": 40, "b": 60}) == pytest.approx(0.2)
    assert balance_error({"a": 0, "b": 30, "c": 30}) == pytest.approx(1.0)


def test_one_name_stands_for_the_addresses_of_the_moment() -> None:
    names = Names()
    try:
        assert _ask(names, NAME) == []
        names.addresses = ["127.0.0.11", "127.0.0.12"]
        assert sorted(_ask(names, NAME)) == ["127.0.0.11", "127.0.0.12"]
        assert _ask(names, NAME, "AAAA") == []
        assert _ask(names, "other.example") == []
    finally:
        names.close()


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with Fleet(0.02, 1.0) as started:
        started.start(2)
        yield started


def test_calls_reach_all_replicas_and_are_counted_by_them(fleet: Fleet) -> None:
    before = fleet.finished()
    fleet.publish(fleet.replicas)
    with Load(fleet.names.target, 4).running() as load:
        while load.answered < 200:  # the replica that is connected to first is ahead by some
            time.sleep(0.01)
    counts = {address: count - before[address] for address, count in fleet.finished().items()}
    assert sum(counts.values()) == load.answered and load.failures == []
    assert balance_error(counts) < 0.35


def test_without_any_replica_calls_fail_and_are_noticed(fleet: Fleet) -> None:
    gone = Fleet(0.02, 1.0)
    gone.names.addresses = ["127.0.0.99"]  # nobody listens there
    try:
        with Load(gone.names.target, 1, gateways=1).running() as load:
            while not load.failures:
                time.sleep(0.01)
        assert load.failures[0].startswith("STAGE_UNAVAILABLE")
    finally:
        gone.names.close()


def test_a_killed_replica_loses_no_call(fleet: Fleet) -> None:
    (victim,) = fleet.start(1)
    fleet.publish(fleet.replicas)
    with Load(fleet.names.target, 6).running() as load:
        while load.answered < 60:
            time.sleep(0.01)
        victim.process.kill()
        reached = load.answered + 60
        while load.answered < reached:
            time.sleep(0.01)
    assert load.failures == []


def test_calls_that_are_tried_again_are_those_without_streams() -> None:
    modules = (encoder_pb2, synthesizer_pb2, vocoder_pb2, faceswap_pb2)
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    unary = {
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    }
    assert unary == set(UNARY_METHODS)
