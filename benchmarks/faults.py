"""What survives: `python -m benchmarks.faults [--json] [--database postgresql] [--items 200]`.

A video job, and a batch, are struck at each boundary between their steps: the gateway, the worker that has the job, and
each stage are killed with SIGKILL, the database and the object store go away for a while. A supervisor starts what was
killed again, workers later than the time after which others take over from them. Then every job that was acknowledged
is looked at: whether it has its result, whether it has one only, and whether that is what its record says.

Boundaries are seen from outside, in the queue's own tables: the product has no hooks for this.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from benchmarks.faults_cluster import WORKERS, Cluster, open_cluster
from benchmarks.faults_examination import examine
from benchmarks.faults_supervisor import Supervisor
from benchmarks.machine import describe_machine
from services.common.encode_audio import encode_audio

FILM_KINDS: Final = ("gateway", "worker", "faceswap", "database", "store")
BATCH_KINDS: Final = ("worker", "synthesizer", "gateway", "vocoder", "database", "encoder", "store")
ENDED: Final = ("succeeded", "failed", "canceled")
FILM_SECONDS: Final = 2.0
SEGMENT_SECONDS: Final = 0.5
FILM_BOUNDARIES: Final = 8  # queued, plan, four segments, join, publish: the job has ended then, its workflow not
LOOK_S: Final = 0.01
JOB_LIMIT_S: Final = 300.0


@dataclass(frozen=True)
class Scale:
    """How much is done. `outage_s` is of database and store; `killed_worker_s` until a killed worker is back."""

    items: int
    item_stride: int
    film_kinds: tuple[str, ...]
    film_boundaries: tuple[int, ...]
    outage_s: float
    stale_s: float

    @property
    def killed_worker_s(self) -> float:
        return self.stale_s * 1.5 + 2.0


@dataclass
class Tally:
    """What was done and seen."""

    faults: Counter[str] = field(default_factory=Counter)
    recovery_s: dict[str, float] = field(default_factory=dict)  # the longest, by what the job had suffered
    acknowledged: list[str] = field(default_factory=list)
    struck: dict[str, list[int]] = field(default_factory=dict)


class Matrix:
    """Strikes jobs of a cluster and keeps the tally."""

    def __init__(self, cluster: Cluster, scale: Scale, say: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._scale = scale
        self._say = say
        self.tally = Tally()
        self._fakes: Any = importlib.import_module("tests.contract.gateway_fake_faces")

    def furnish(self) -> None:
        """A face called Ada, and a voice of the same name."""
        client = self._cluster.request
        body = {"who": "nobody", "kind": "synthetic", "evidence": "made for a benchmark"}
        consent = client("POST", "/v1/face_consents", json=body).json()["id"]
        files: Any = {"picture": ("ada.png", self._fakes.portrait(200))}
        client("POST", "/v1/faces", data={"name": "Ada", "consent": consent}, files=files).raise_for_status()
        consent = client("POST", "/v1/audio/voice_consents", json=body).json()["id"]
        t = np.arange(2 * 16000) / 16000
        files = {
            "audio_sample": ("ada.wav", encode_audio(np.asarray(0.5 * np.sin(2 * np.pi * 200 * t), np.float32), "wav"))
        }
        data = {"name": "Ada", "consent": consent, "calibration": "fast"}
        client("POST", "/v1/audio/voices", data=data, files=files).raise_for_status()

    def strike_films(self, kind: str) -> None:
        """Films until each boundary was struck by that kind of fault, several boundaries of a film if they come up."""
        left = set(self._scale.film_boundaries)
        tries = 0
        while left and tries < 2 * FILM_BOUNDARIES:
            tries += 1
            job = self._post_film()
            self._follow(job, [kind], left, f"film/{kind}")
            self._say(f"film, {kind}: boundaries left {sorted(left)}")
        self.tally.struck[f"film/{kind}"] = sorted(set(self._scale.film_boundaries) - left)

    def strike_batch(self) -> None:
        """A batch, struck at every boundary of its stride by one kind of fault after the other."""
        job = self._post_batch()
        count = self._scale.items
        left = {*range(0, count, self._scale.item_stride), count, count + 1}
        every = set(left)
        self._follow(job, list(BATCH_KINDS), left, "batch")
        self.tally.struck["batch"] = sorted(every - left)
        self._say(f"batch: {len(every - left)} of {len(every)} boundaries struck")

    def _post_film(self) -> str:
        film = self._fakes.film(FILM_SECONDS)
        return self._post("/v1/swaps", data={"face": "Ada"}, files={"target": ("t.mp4", film)})

    def _post_batch(self) -> str:
        lines = [
            {
                "custom_id": f"item-{number}",
                "method": "POST",
                "url": "/v1/audio/speech",
                "body": {"input": f"This is item {number}.", "voice": "Ada", "response_format": "wav"},
            }
            for number in range(self._scale.items)
        ]
        content = "\n".join(json.dumps(line) for line in lines).encode()
        return self._post("/v1/batches", files={"file": ("batch.jsonl", content)})

    def _post(self, path: str, **options: Any) -> str:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        while True:
            answer = self._cluster.request("POST", path, headers=key, **options)
            if answer.status_code in (201, 202):
                job_id = str(answer.json()["id"])
                job_id = "job_" + job_id.partition("_")[2]
                self.tally.acknowledged.append(job_id)
                return job_id
            if answer.status_code not in (409, 429):
                raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text}")
            time.sleep(0.5)

    def _follow(self, job_id: str, kinds: list[str], left: set[int], label: str) -> None:
        """Watches a job's steps until it has ended, and strikes when one of the boundaries in `left` is reached."""
        begun_at = time.monotonic()
        fault_at: float | None = None
        while True:
            state, owner, steps = self._look(job_id)
            if state in ENDED:
                break
            if time.monotonic() - (fault_at or begun_at) > JOB_LIMIT_S:
                self._say(f"{job_id} has not ended {JOB_LIMIT_S:.0f} s after the last fault")
                break
            due = {steps} & left if label != "batch" else {step for step in left if step <= steps}
            kind = kinds[sum(self.tally.faults.values()) % len(kinds)]
            if due and self._strike(kind, owner):
                left -= due
                fault_at = time.monotonic()
            time.sleep(LOOK_S)
        if fault_at is not None:
            seconds = time.monotonic() - fault_at
            self.tally.recovery_s[label] = round(max(self.tally.recovery_s.get(label, 0.0), seconds), 2)
        if label != "batch" and FILM_BOUNDARIES - 1 in left and self._strike(kinds[0], owner):
            left.discard(FILM_BOUNDARIES - 1)

    def _look(self, job_id: str) -> tuple[str, str | None, int]:
        """State, owner, and how many steps the queue has recorded."""
        query = (
            f"SELECT state, owner, (SELECT count(*) FROM dbos.operation_outputs WHERE workflow_uuid = workflow_id)"  # noqa: S608
            f" FROM jobs WHERE id = '{job_id}'"
        )
        while True:
            try:
                (row,) = self._cluster.database.rows(query)
                return str(row[0]), row[1], int(row[2])
            except Exception:  # it is away, by our own doing
                time.sleep(0.1)

    def _strike(self, kind: str, owner: str | None) -> bool:
        """Whether there was something to strike: what is dead already cannot be killed."""
        if kind == "database":
            self._cluster.database.outage(self._scale.outage_s)
        elif kind == "store":
            self._cluster.relay.cut()
            time.sleep(self._scale.outage_s)
            self._cluster.relay.mend()
        else:
            name = (owner if owner in WORKERS else WORKERS[0]) if kind == "worker" else kind
            if not self._cluster.is_up(name):
                return False
            self._cluster.children[name].kill()
        self.tally.faults[kind] += 1
        return True


def run(database: str, scale: Scale, *, films: bool = True, batch: bool = True, say: Callable[[str], None]) -> Any:
    """The whole matrix on one database; the figures."""
    settings = {
        "segment_seconds": SEGMENT_SECONDS,
        "process_beat_s": scale.stale_s / 5,
        "process_stale_s": scale.stale_s,
        "auth": "auto",
    }
    cluster, folder = open_cluster(database, **settings)
    began_at = time.monotonic()
    with folder, cluster:
        matrix = Matrix(cluster, scale, say)
        with Supervisor(cluster, scale.killed_worker_s):
            matrix.furnish()
            say(f"the cluster is up after {time.monotonic() - began_at:.0f} s")
            if films:
                for kind in scale.film_kinds:
                    matrix.strike_films(kind)
            if batch:
                matrix.strike_batch()
            lost, duplicated, wrong = examine(cluster, matrix.tally.acknowledged)
        for line in wrong:
            say(line)
        if wrong:
            for name in (*WORKERS, "gateway"):
                say(f"--- {name}\n{cluster.children[name].tail()}")
    tally = matrix.tally
    return {
        "database": database,
        "jobs": len(tally.acknowledged),
        "items": scale.items if batch else 0,
        "lost": lost,
        "duplicated": duplicated,
        "recovery_s_max": max(tally.recovery_s.values(), default=0.0),
        "recovery_s": tally.recovery_s,
        "faults_injected": sum(tally.faults.values()),
        "faults": dict(tally.faults),
        "boundaries": {label: len(struck) for label, struck in tally.struck.items()},
        "stale_s": scale.stale_s,
        "seconds": round(time.monotonic() - began_at, 1),
    }


FULL: Final = Scale(
    items=200,
    item_stride=5,
    film_kinds=FILM_KINDS,
    film_boundaries=tuple(range(FILM_BOUNDARIES)),
    outage_s=4.0,
    stale_s=15.0,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--items", type=int, default=FULL.items, help="of the batch")
    parser.add_argument("--stride", type=int, default=FULL.item_stride, help="strike at every n-th item of the batch")
    parser.add_argument("--kinds", nargs="*", choices=FILM_KINDS, default=list(FILM_KINDS), help="of faults to films")
    options = parser.parse_args()
    scale = Scale(
        options.items,
        options.stride,
        tuple(options.kinds),
        FULL.film_boundaries,
        outage_s=FULL.outage_s,
        stale_s=FULL.stale_s,
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    runs = [run(database, scale, say=say) for database in databases]
    summary = {
        "jobs": sum(item["jobs"] + item["items"] for item in runs),
        "lost": sum(item["lost"] for item in runs),
        "duplicated": sum(item["duplicated"] for item in runs),
        "recovery_s_max": max(item["recovery_s_max"] for item in runs),
        "faults_injected": sum(item["faults_injected"] for item in runs),
        "runs": runs,
        "machine": describe_machine(),
    }
    out = io.StringIO()
    json.dump(summary, out, indent=None if options.json else 2)
    print(out.getvalue())
    return 0 if summary["lost"] == summary["duplicated"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
