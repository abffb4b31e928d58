"""How work spreads over replicas of a stage: python -m benchmarks.scale [--json]

No cluster: real servers in processes of their own on 127.0.0.x, a name server on loopback that answers as that of a
cluster does for a headless Service, and the gateway's own client. Work is sleep of a fixed time, so what is measured is
the way to the replicas: balancing, finding new ones, losing none when one goes, and what is lost of n-fold throughput.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import yaml

from benchmarks.machine import describe_machine
from benchmarks.scale_fleet import Fleet, Replica
from likeness.v1 import faceswap_pb2
from services.common.errors import LikenessError
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Call, Stages

VALUES: Final = Path(__file__).resolve().parents[1] / "charts/likeness/values.yaml"
CALL_S: Final = 0.1
SEGMENT_S: Final = 1.0
SEGMENTS_PER_WORKER: Final = 4  # two jobs of two segments each, as a worker does by default
SEGMENTS_PER_REPLICA: Final = 2  # at a time, which is the default; with a replica for each worker, two more wait
REQUESTS_PER_REPLICA: Final = 3  # one is worked on, the next ones are there when it is done


@dataclass
class Load:
    """Callers that ask again as soon as they have an answer, each gateway with a channel of its own."""

    target: str
    callers: int
    gateways: int = 2
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[Load]:
        stages = [Stages(GatewaySettings(faceswap_target=self.target)) for _ in range(self.gateways)]
        threads = [
            threading.Thread(target=self._call, args=(stages[number % self.gateways],))
            for number in range(self.callers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            for stage in stages:
                stage.close()

    def _call(self, stages: Stages) -> None:
        request = faceswap_pb2.DetectFacesRequest()
        while not self._stop.is_set():
            try:
                stages.detect_faces(request, Call(request_id="scale", expires_at=time.monotonic() + 30.0))
            except LikenessError as error:
                with self._lock:
                    self.failures.append(f"{error.reason}: {_cause(error)}")
            else:
                with self._lock:
                    self.answered += 1


def _cause(error: LikenessError) -> str:
    """What gRPC said, where it was gRPC."""
    told: BaseException | None = error
    while told is not None and not isinstance(told, grpc.Call):
        told = told.__cause__
    return error.detail if told is None else str(told.details())


def balance_error(counts: dict[str, int]) -> float:
    """Largest distance of a replica's share from the mean, as a share of the mean."""
    mean = sum(counts.values()) / len(counts)
    return max(abs(count / mean - 1.0) for count in counts.values())


def measure_balance(fleet: Fleet, replicas: list[Replica], seconds: float) -> float:
    """Over the time after the first second, in which channels are opened."""
    fleet.publish(replicas)
    with Load(fleet.names.target, REQUESTS_PER_REPLICA * len(replicas)).running():
        time.sleep(1.0)
        before = {replica.address: replica.finished() for replica in replicas}
        time.sleep(seconds)
        after = {replica.address: replica.finished() for replica in replicas}
    return balance_error({address: after[address] - before[address] for address in before})


def measure_new_replicas(fleet: Fleet, replicas: list[Replica]) -> list[float]:
    """Two serve, the others join one by one: seconds from the name's change until each has answered a call."""
    found = []
    fleet.publish(replicas[:2])
    with Load(fleet.names.target, 6).running():
        time.sleep(3.0)
        for count in range(3, len(replicas) + 1):
            newcomer = replicas[count - 1]
            before = newcomer.finished()
            fleet.publish(replicas[:count])
            begun_s = time.monotonic()
            while newcomer.finished() == before and time.monotonic() - begun_s < 60.0:
                time.sleep(0.05)
            found.append(time.monotonic() - begun_s)
    return found


def measure_losses(fleet: Fleet, replicas: list[Replica]) -> tuple[int, int, list[str]]:
    """One is killed, and one is told to go, while calls run. Failed calls, answered ones, and what failed."""
    fleet.publish(replicas)
    killed, drained, *rest = replicas
    with Load(fleet.names.target, 2 * len(replicas)).running() as load:
        time.sleep(3.0)
        killed.process.kill()
        time.sleep(1.0)  # so long a cluster may need to notice
        fleet.publish([drained, *rest])
        time.sleep(3.0)
        drained.process.terminate()
        time.sleep(0.5)
        fleet.publish(rest)
        drained.process.wait(timeout=30)
        time.sleep(3.0)
    return len(load.failures), load.answered, load.failures[:3]


def measure_throughput(fleet: Fleet, replicas: list[Replica], seconds: float) -> float:
    """Calls per second, with always a few waiting at each replica."""
    fleet.publish(replicas)
    with Load(fleet.names.target, REQUESTS_PER_REPLICA * len(replicas), gateways=1).running() as load:
        time.sleep(1.5)
        before, begun_s = load.answered, time.monotonic()
        time.sleep(seconds)
        return (load.answered - before) / (time.monotonic() - begun_s)


def measure_segments(fleet: Fleet, replicas: list[Replica], workers: int, seconds: float) -> float:
    """Segments of films per second, asked for by processes that have as many under way as a worker."""
    fleet.publish(replicas)
    command = [sys.executable, "-m", "benchmarks.scale", "--segments", fleet.names.target]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(workers)]
    idle = sum(fleet.finished("SwapSegment").values())
    while sum(fleet.finished("SwapSegment").values()) < idle + workers * SEGMENTS_PER_WORKER:
        time.sleep(0.1)
    before, begun_s = sum(fleet.finished("SwapSegment").values()), time.monotonic()
    time.sleep(seconds)
    rate = (sum(fleet.finished("SwapSegment").values()) - before) / (time.monotonic() - begun_s)
    for process in processes:
        process.communicate()  # closes its standard input, at which it ends
    return rate


def ask_for_segments(target: str) -> None:
    """A worker's calls, until standard input is closed."""
    stages = Stages(GatewaySettings(faceswap_target=target))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                call = Call(request_id="scale", expires_at=time.monotonic() + 60.0)
                for _ in stages.swap_segment(faceswap_pb2.SwapSegmentRequest(), call):
                    pass
            except grpc.RpcError:
                continue

    for _ in range(SEGMENTS_PER_WORKER):
        threading.Thread(target=work, daemon=True).start()
    sys.stdin.read()
    stop.set()


def measure(seconds: float = 8.0) -> dict[str, Any]:
    """All figures; about two and a half minutes on an idle machine."""
    age_s = float(yaml.safe_load(VALUES.read_text())["stageDefaults"]["settings"]["max_connection_age_s"])
    result: dict[str, Any] = {"max_connection_age_s": age_s, "load_average": round(os.getloadavg()[0], 2)}
    with Fleet(CALL_S, age_s) as fleet:
        _say("starting eight replicas")
        replicas = fleet.start(8)
        rates = {}
        for count in (1, 2, 4, 8):
            rates[count] = round(measure_throughput(fleet, replicas[:count], seconds), 2)
            _say(f"{count} replicas: {rates[count]} calls/s")
        result["calls_per_second"] = rates
        result["efficiency_8"] = round(rates[8] / (8 * rates[1]), 4)
        result["balance_error"] = round(measure_balance(fleet, replicas[:4], seconds), 4)
        _say(f"balance error {result['balance_error']}")
        waits = measure_new_replicas(fleet, replicas[:6])
        result["new_replica_seconds"] = round(max(waits), 2)
        _say(f"new replicas after {waits}")
        lost, answered, why = measure_losses(fleet, replicas[4:8])
        result |= {"lost_requests": lost, "answered_meanwhile": answered}
        _say(f"{lost} of {lost + answered} calls lost {why}")
    result |= _measure_workers(age_s, seconds)
    return {**result, "machine": describe_machine()}


def _measure_workers(age_s: float, seconds: float) -> dict[str, Any]:
    rates = {}
    with Fleet(SEGMENT_S, age_s, SEGMENTS_PER_REPLICA) as fleet:
        replicas = fleet.start(4)
        for workers in (1, 2, 4):
            rates[workers] = round(measure_segments(fleet, replicas[:workers], workers, 2 * seconds), 3)
            _say(f"{workers} workers: {rates[workers]} segments/s")
    return {"segments_per_second": rates, "efficiency_workers_4": round(rates[4] / (4 * rates[1]), 4)}


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--segments", metavar="TARGET", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.segments:
        ask_for_segments(arguments.segments)
        return
    result = measure()
    print(json.dumps(result, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
