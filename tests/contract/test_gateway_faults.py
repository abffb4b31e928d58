"""The kill matrix in small: a film and a batch, struck between their steps; see benchmarks/faults.py for all of it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import faults_cluster
from benchmarks.faults import JOB_LIMIT_S, Scale, run
from tests.ports import free_port

SMALL: dict[str, Scale] = {
    "sqlite": Scale(
        items=12,
        item_stride=4,
        film_kinds=("worker", "faceswap"),
        film_boundaries=(2, 6),
        outage_s=1.0,
        stale_s=3.0,
    ),
    "postgresql": Scale(
        items=12,
        item_stride=4,
        film_kinds=("database", "store"),
        film_boundaries=(3, 7),
        outage_s=1.5,
        stale_s=3.0,
    ),
}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_acknowledged_jobs_have_one_result_whatever_is_killed(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_cluster, "free_port", free_port)
    said: list[str] = []
    figures: dict[str, Any] = run(database, SMALL[database], say=said.append)
    assert (figures["lost"], figures["duplicated"]) == (0, 0), "\n".join(said)
    assert figures["faults_injected"] >= 2 * 2 + 3, "boundaries that come together count once"
    assert set(figures["faults"]) >= set(SMALL[database].film_kinds)
    assert figures["jobs"] >= 3 and figures["items"] == 12
    assert figures["recovery_s_max"] < JOB_LIMIT_S, figures
