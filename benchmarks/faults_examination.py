"""After the faults: what has become of the jobs, by the database and by what can be downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from benchmarks.faults_cluster import Cluster

_ENDED_TWICE: Final = (
    "SELECT job_id FROM job_events WHERE kind = 'state' AND CAST(data AS TEXT) LIKE '%succeeded%'"
    " GROUP BY job_id HAVING count(*) > 1"
)
_TWO_RESULTS: Final = (
    "SELECT job_id FROM media WHERE job_id IS NOT NULL AND purpose IN ('swap', 'speech', 'batch_result')"
    " GROUP BY job_id HAVING count(*) > 1"
)


def examine(cluster: Cluster, acknowledged: Iterable[str]) -> tuple[int, int, list[str]]:
    """How many jobs have lost their result, how many have more than one, and what was found wrong."""
    wrong: list[str] = []
    rows = cluster.database.rows("SELECT id, state, kind, media_id, batch_id, error FROM jobs")
    jobs = {row[0]: row for row in rows if row[2] in ("swap", "speech", "batch")}
    ids = [*acknowledged, *(row[0] for row in rows if row[4] is not None)]
    lost = 0
    for job_id in ids:
        row = jobs.get(job_id)
        if row is None or row[1] != "succeeded":
            lost += 1
            wrong.append(f"{job_id}: {row and row[1]} {row and row[5]}")
        elif not _is_sound(cluster, row[3]):
            lost += 1
            wrong.append(f"{job_id}: its result is not what its record says")
    twice = {row[0] for row in cluster.database.rows(_ENDED_TWICE)} | {
        row[0] for row in cluster.database.rows(_TWO_RESULTS)
    }
    wrong += [f"{job_id}: more than one end or result" for job_id in twice]
    return lost, len(twice), wrong


def _is_sound(cluster: Cluster, media_id: str) -> bool:
    ((sha256,),) = cluster.database.rows(f"SELECT sha256 FROM media WHERE id = '{media_id}'")  # noqa: S608
    answer = cluster.request("GET", f"/v1/media/{media_id}")
    return answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() == sha256
