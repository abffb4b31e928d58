"""What the gateway costs: `python -m benchmarks.serve --json`.

A gateway as users run it (gunicorn, two processes, SQLite), stages in another process behind which nothing is computed
but a wait (`serve_stages`), and a load generator in this one, all on one machine, with a fixed seed. Measured are

- `overhead_p50_ms`, `overhead_p95_ms`: a short speech over HTTP, one at a time, minus the median of the gRPC calls that
  it consists of (synthesizer into vocoder, then encoder), made directly. Both are asked for in turn, so that whatever
  else the machine does meets both. The client is the standard library's: httpx takes a millisecond for itself.
- `metadata_rps`: GETs of voices, jobs and lists per second, eight connections.
- `overload_*`, `accepted_p99_ms`: speeches at four times the rate that the stages can do, at random times. Every one
  must be answered: with the speech or, soon, with 429.

`gateway_cpu_ms` says what a request of each kind costs in processor time, which does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil

from benchmarks.machine import describe_machine
from benchmarks.serve_load import Answer, Request, closed_loop, http_request, open_loop, percentile
from services.common.encode_audio import encode_audio
from services.common.grants import Grant, GrantSigner, voice_template
from services.common.keys import load_keys
from services.common.profile import SpeakerProfile
from services.gateway.figures import measure_similarity
from services.gateway.profiles import load_profile
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Call, Stages
from services.gateway.synthesis import SampleStream, Utterance

TEXT: Final = "Good morning to you."
WAIT_MS: Final = 20.0
CONCURRENCY: Final = 2
WORKERS: Final = 2
CONNECTIONS: Final = 8
OVERLOAD: Final = 4
REPOSITORY: Final = Path(__file__).resolve().parents[1]


@dataclass
class Served:
    """A running gateway with a voice in it."""

    port: int
    settings: GatewaySettings
    process: psutil.Process
    client: httpx.Client
    voice: str = ""
    job: str = ""

    def cpu_s(self) -> float:
        """Processor time that the gateway's processes have used."""
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(item.user + item.system for item in times)

    def speech(self) -> Request:
        body = {"input": TEXT, "voice": self.voice, "response_format": "wav", "stream": False}
        return http_request("POST", "/v1/audio/speech", json.dumps(body).encode())


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=REPOSITORY, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def served(folder: Path, *, workers: int, **more: Any) -> Iterator[Served]:
    """A gateway with stages, and a voice enrolled."""
    stage_options = ["--wait-ms", str(WAIT_MS), "--concurrency", str(CONCURRENCY)]
    command = ["benchmarks.serve_stages", "--data-dir", str(folder), *stage_options]
    with running(command, stdout=subprocess.PIPE) as stages:
        assert stages.stdout is not None
        ports = json.loads(stages.stdout.readline())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        values: dict[str, Any] = {f"{name}_target": f"127.0.0.1:{number}" for name, number in ports.items()}
        values |= {"data_dir": str(folder), "http_port": port, "workers": workers, "calibrate": False, **more}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
        environment |= {f"LIKENESS_{name.upper()}": str(value) for name, value in values.items()}
        with (folder / "gateway.log").open("wb") as log:
            options = {"env": environment, "stderr": log, "stdout": log}
            with running(["services.gateway"], **options) as gateway:
                client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
                made = Served(port, GatewaySettings(**values), psutil.Process(gateway.pid), client)
                _furnish(made)
                yield made
                client.close()


def _furnish(made: Served) -> None:
    give_up_at = time.monotonic() + 120
    while True:
        try:
            checks = made.client.get("/readyz").json()["checks"]
            if all(checks[name]["ok"] for name in ("database", "store", "encoder", "synthesizer", "vocoder")):
                break
        except (httpx.TransportError, KeyError, ValueError):
            pass
        if time.monotonic() > give_up_at:
            raise TimeoutError("the gateway did not become ready")
        time.sleep(0.2)
    body = {"who": "a load test", "kind": "synthetic", "evidence": "silence"}
    consent = made.client.post("/v1/audio/voice_consents", json=body).json()["id"]
    sample = encode_audio(np.full(32_000, 0.1, np.float32), "wav")
    answer = made.client.post(
        "/v1/audio/voices", data={"name": "load", "consent": consent}, files={"audio_sample": ("a.wav", sample)}
    )
    answer.raise_for_status()
    made.voice = answer.json()["id"]
    for _ in range(20):
        speech = {"input": TEXT, "voice": made.voice, "response_format": "wav", "stream": False}
        answer = made.client.post("/v1/audio/speech", json=speech)
        if answer.is_error:
            raise RuntimeError(answer.text)
        made.job = answer.headers["X-Likeness-Job"]


def measure_overhead(made: Served, rounds: int) -> dict[str, float]:
    """Speeches over HTTP and directly, in turn."""
    stages = Stages(made.settings, GrantSigner(load_keys(made.settings.resolved_keys_dir).grant))
    profile = _profile(made)
    direct_ms, http_ms = [], []
    body = {"input": TEXT, "voice": made.voice, "response_format": "wav", "stream": False}
    content = json.dumps(body).encode()
    client = HTTPConnection("127.0.0.1", made.port, timeout=60)
    cpu_s = 0.0
    for number in range(rounds + 5):
        before = time.perf_counter()
        _speak_directly(stages, profile)
        between = time.perf_counter()
        cpu_before = made.cpu_s()
        asked = time.perf_counter()
        client.request("POST", "/v1/audio/speech", content, {"Content-Type": "application/json"})
        response = client.getresponse()
        answer = response.read()
        answered = time.perf_counter()
        if response.status != 200:
            raise RuntimeError(answer.decode())
        if number >= 5:  # the first warm up connections
            direct_ms.append(1000 * (between - before))
            http_ms.append(1000 * (answered - asked))
            cpu_s += made.cpu_s() - cpu_before
    client.close()
    stages.close()
    direct = percentile(direct_ms, 0.5)
    return {
        "direct_p50_ms": direct,
        "overhead_p50_ms": percentile(http_ms, 0.5) - direct,
        "overhead_p95_ms": percentile(http_ms, 0.95) - direct,
        "overhead_min_ms": min(http_ms) - min(direct_ms),
        "direct_p95_over_p50_ms": percentile(direct_ms, 0.95) - direct,
        "speech_cpu_ms": 1000 * cpu_s / rounds,
    }


def _profile(made: Served) -> SpeakerProfile:
    """The enrolled voice as the gateway loads it."""
    from services.gateway.db import Database, Voice

    database = Database(made.settings.resolved_database_url)
    with database.session() as session:
        profile = load_profile(session.get_one(Voice, made.voice))
    database.close()
    return profile


def _speak_directly(stages: Stages, profile: SpeakerProfile) -> None:
    grant = Grant("speech", "local", (), frozenset({voice_template(profile.embedding)}), mark=1)
    call = Call.within(60.0, "benchmark", grant)
    samples = np.concatenate([chunk.samples for chunk in SampleStream(stages, profile, Utterance(TEXT), call)])
    measure_similarity(stages, samples, profile.embedding, call, label="the speech")


def measure_metadata(made: Served, seconds: float, seed: int) -> dict[str, float]:
    """GETs of single objects and of lists, in random order."""
    paths = [f"/v1/audio/voices/{made.voice}", f"/v1/jobs/{made.job}", "/v1/jobs?limit=20", "/v1/audio/voices"]
    paths += ["/v1/audio/voice_consents", "/v1/models"]
    requests = [http_request("GET", path) for path in paths]
    rng = random.Random(seed)
    closed_loop(made.port, lambda: rng.choice(requests), connections=CONNECTIONS, seconds=1.0)
    cpu_before, began_at = made.cpu_s(), time.perf_counter()
    answers = closed_loop(made.port, lambda: rng.choice(requests), connections=CONNECTIONS, seconds=seconds)
    elapsed_s = time.perf_counter() - began_at
    _require(answers, lambda answer: answer.status == 200)
    return {
        "metadata_rps": len(answers) / elapsed_s,
        "metadata_p99_ms": 1000 * percentile([answer.seconds for answer in answers], 0.99),
        "metadata_cpu_ms": 1000 * (made.cpu_s() - cpu_before) / len(answers),
    }


def measure_overload(made: Served, seconds: float, seed: int) -> dict[str, float]:
    """Four times what was done when as much as possible was asked for."""
    full = closed_loop(made.port, made.speech, connections=CONNECTIONS, seconds=max(3.0, seconds / 2))
    capacity_hz = sum(answer.status == 200 for answer in full) / max(3.0, seconds / 2)
    answers = open_loop(made.port, made.speech(), rate_hz=OVERLOAD * capacity_hz, seconds=seconds, seed=seed)
    accepted = [1000 * answer.seconds for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    _require(refused, lambda answer: answer.has_retry_after)
    return {
        "capacity_rps": capacity_hz,
        "overload_requests": len(answers),
        "overload_2xx_share": len(accepted) / len(answers),
        "overload_429_share": len(refused) / len(answers),
        "overload_5xx": sum(answer.status >= 500 for answer in answers),
        "overload_broken": sum(answer.status == 0 for answer in answers),
        "accepted_p99_ms": percentile(accepted, 0.99),
        "refused_p99_ms": percentile([1000 * answer.seconds for answer in refused], 0.99),
    }


def _require(answers: list[Answer], right: Callable[[Answer], bool]) -> None:
    wrong = [answer for answer in answers if not right(answer)]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(answers)} answers are not as they should be: {wrong[:3]}")


def measure(*, seconds: float = 8.0, rounds: int = 200, seed: int = 6, workers: int = WORKERS) -> dict[str, Any]:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="likeness-serve-") as folder, served(Path(folder), workers=workers) as made:
        figures |= measure_overhead(made, rounds)
        figures |= measure_metadata(made, seconds, seed)
        figures |= measure_overload(made, seconds, seed)
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON with a description of the machine")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=200, help="speeches for the overhead")
    parser.add_argument("--workers", type=int, default=WORKERS, help="gunicorn processes")
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    figures = measure(
        seconds=arguments.seconds, rounds=arguments.rounds, seed=arguments.seed, workers=arguments.workers
    )
    if arguments.json:
        print(json.dumps({**figures, "machine": describe_machine()}, indent=2))
        return
    for name, value in figures.items():
        print(f"{name:>24} {value:12.3f}")


if __name__ == "__main__":
    main()
