"""What starts killed processes again, as systemd, Kubernetes or `likeness up` do."""

from __future__ import annotations

import threading
import time

from benchmarks.faults_cluster import WORKERS, Cluster


class Supervisor:
    """Starts killed processes again after a second, workers after `killed_worker_s`, during a `with` block."""

    def __init__(self, cluster: Cluster, killed_worker_s: float) -> None:
        self._cluster = cluster
        self._killed_worker_s = killed_worker_s
        self._dead_since: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            for name, child in self._cluster.children.items():
                if child.is_running:
                    self._dead_since.pop(name, None)
                    continue
                since = self._dead_since.setdefault(name, time.monotonic())
                if time.monotonic() - since >= (self._killed_worker_s if name in WORKERS else 1.0):
                    child.start()
