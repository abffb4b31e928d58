"""Autoscalers read signals that exist, and let go of a replica more slowly than one is made."""

from __future__ import annotations

import re

import helm_python as helm
import pytest
from sqlalchemy import create_engine, text

from services.gateway.db import Base
from tests.chart.rendering import STAGES, render, scenario_values


def _behavior(scaler: dict[str, dict[str, object]]) -> dict[str, dict[str, int]]:
    spec = scaler["spec"]
    return spec.get("behavior") or spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]  # type: ignore[index,return-value]


@pytest.mark.parametrize("scenario", ["ha", "external-everything"])
def test_up_at_once_and_down_slowly(chart: helm.Chart, scenario: str) -> None:
    rendered = render(chart, scenario_values(scenario))
    scalers = rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    assert len(scalers) >= 4
    for scaler in scalers:
        behavior = _behavior(scaler)
        assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
        target = scaler["spec"]["scaleTargetRef"]
        for _, container in rendered.running(target["name"].removeprefix("likeness-")):
            startup = container["startupProbe"]
            allowed_s = startup["periodSeconds"] * startup["failureThreshold"]
            assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= allowed_s


@pytest.mark.parametrize("signal", ["cpu", "pods", "prometheus"])
def test_each_signal_of_a_stage(chart: helm.Chart, signal: str) -> None:
    rendered = render(chart, {"stageDefaults": {"autoscaling": {"enabled": True, "signal": signal}}})
    for stage in STAGES:
        if signal == "prometheus":
            (trigger,) = rendered.one("ScaledObject", f"likeness-{stage}")["spec"]["triggers"]
            asked = re.findall(r'(likeness_\w+)\{stage="(\w+)",namespace="media"\}', trigger["metadata"]["query"])
            assert asked == [("likeness_inflight", stage), ("likeness_queue_depth", stage)]
            continue
        metrics = rendered.one("HorizontalPodAutoscaler", f"likeness-{stage}")["spec"]["metrics"]
        names = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
        assert names == (["likeness_inflight", "likeness_queue_depth"] if signal == "pods" else [])


def test_workers_are_scaled_by_a_query_that_the_schema_answers(chart: helm.Chart) -> None:
    rendered = render(chart, scenario_values("ha"))
    (trigger,) = rendered.one("ScaledObject", "likeness-worker")["spec"]["triggers"]
    login = rendered.one("TriggerAuthentication", trigger["authenticationRef"]["name"])
    (reference,) = login["spec"]["secretTargetRef"]
    assert (reference["parameter"], reference["name"], reference["key"]) == ("connection", "likeness-database", "url")
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    insert = (
        "INSERT INTO jobs (id, tenant, created_at, kind, state, request_id, consent_id, likeness_id, parameters,"
        " figures, workflow_id, batch_id)"
        " VALUES (:id, 't', '2026-01-01', 'swap', :state, 'r', 'c', 'l', '{}', '{}', :flow, :batch)"
    )
    rows = [("a", "queued", "a-1", None), ("b", "processing", "b-1", None), ("c", "succeeded", "c-1", None)]
    rows += [("d", "queued", None, "b"), ("e", "processing", None, None)]  # an item of a batch; somebody waits for it
    with engine.begin() as connection:
        for row in rows:
            connection.execute(text(insert), dict(zip(("id", "state", "flow", "batch"), row, strict=True)))
        assert connection.scalar(text(trigger["metadata"]["query"])) == 2
