"""Fixtures for all tests: stage servers in this process, and audio made by formula."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from scipy.signal import lfilter

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.client import open_channel
from services.common.server import StageServer
from services.common.settings import StageSettings

StartStage = Callable[..., StageServer]

# The search for a voice takes half a minute; tests that are not about it are content with one round.
os.environ.setdefault("LIKENESS_CALIBRATION_ROUNDS", "1")

# Tests of the real stack share one, and the ports that `likeness demo` and `likeness up` prefer: one process runs them.
TOGETHER = "tests/integration/"
# What takes longest: begun first, so that in the end no process waits for another's.
LONGEST = (
    "test_gateway_faults.py",
    "test_demo.py",
    "test_gateway_curl.py",
    "test_openapi_gateway.py",
    "test_gateway_films.py",
)
# Of one process of tests with the servers that it starts.
MEMORY_BYTES = 2_000_000_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long ones first; to these belongs what runs together."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path.name, ranks["test_demo.py"] if item.nodeid.startswith(TOGETHER) else len(ranks))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Half as many again as there are cores, for a third of their time tests wait for other processes; as far as memory
    goes."""
    cores = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(cores * 3 // 2, psutil.virtual_memory().available // MEMORY_BYTES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        """`--dist loadfile`, but for those that belong together."""

        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture
def start_stage() -> Iterator[StartStage]:
    """Starts stage servers on free ports and drains them after the test.

    Call it like StageServer, with single settings as further keywords.
    """
    servers: list[StageServer] = []

    def start(servicer: Any, service_name: str, add_to_server: Any, descriptor: Any, **options: Any) -> StageServer:
        load = options.pop("load", True)
        settings = options.pop("settings", None) or StageSettings(
            **{"port": 0, "metrics_port": 0, "grants": "off", "drain_wait_s": 0.0, "drain_grace_s": 2.0, **options}
        )
        server = StageServer(
            settings, service_name=service_name, servicer=servicer, add_to_server=add_to_server, descriptor=descriptor
        )
        servers.append(server)
        return server.start(load=load)

    yield start
    for server in servers:
        server.drain()


@pytest.fixture
def connect() -> Iterator[Callable[[StageServer], Any]]:
    """Opens channels to started servers and closes them after the test."""
    channels: list[Any] = []

    def open_to(server: StageServer) -> Any:
        channels.append(open_channel(f"127.0.0.1:{server.port}"))
        return channels[-1]

    yield open_to
    for channel in channels:
        channel.close()


def synthetic_vowels(
    seconds: float, *, f0_hz: float = 120.0, formant_scale: float = 1.0, noise_db: float = -60.0, seed: int = 0
) -> FloatArray:
    """Something speech-like that no person said: vowels of a pulse train through formants, with pauses.

    Args:
        f0_hz: mean pitch; it glides by a tenth.
        formant_scale: length of the vocal tract, so to speak; above 1 is a smaller speaker.
        noise_db: level of white noise, relative to full scale.
    """
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE_HZ)
    time_s = np.arange(count) / SAMPLE_RATE_HZ
    pitch_hz = f0_hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time_s))
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    pulses = np.diff(np.floor(phase), prepend=0.0)
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480))  # Peterson and Barney 1952
    signal = np.zeros(count)
    length = round(0.25 * SAMPLE_RATE_HZ)
    for index, start in enumerate(range(0, count, length)):
        if index % 5 == 4:
            continue  # a pause
        piece = pulses[start : start + length]
        for formant_hz in vowels[rng.integers(len(vowels))]:
            radius, angle = (
                np.exp(-np.pi * 90 / SAMPLE_RATE_HZ),
                2 * np.pi * formant_hz * formant_scale / SAMPLE_RATE_HZ,
            )
            piece = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], piece)
        signal[start : start + length] = piece / max(float(np.abs(piece).max()), 1e-9)
    signal = 0.5 * signal + 10 ** (noise_db / 20) * rng.standard_normal(count)
    return np.clip(signal, -1, 1).astype(np.float32)


@pytest.fixture
def vowels() -> FloatArray:
    """Four seconds of speech-like sound."""
    return synthetic_vowels(4.0)
