"""Alerts and dashboard ask for metrics that the running services export, by labels that these have."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import helm_python as helm
import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from services.common.probe import is_serving
from tests.chart.rendering import CHART, ROOT, render, scenario_values
from tests.contract.gateway_fakes import FakeStages
from tests.contract.gateway_process import GatewayProcess
from tests.contract.gateway_worker import WorkerProcess
from tests.ports import free_ports
from tests.waiting import wait_for

# Of the scrape, and of what others export.
SCRAPED = {"namespace", "pod", "job", "le"}
OTHERS = {"DCGM_FI_DEV_FB_USED"}
FACE_SERVICE = "likeness.v1.FaceSwapService"


def alert_rules() -> list[dict[str, str]]:
    groups = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> dict[str, str]:
    panels = json.loads((CHART / "files/dashboard.json").read_text())["panels"]
    found = {f"{panel['title']}: {one['refId']}": one["expr"] for panel in panels for one in panel.get("targets", [])}
    return found


def scaler_queries() -> dict[str, str]:
    """What KEDA asks Prometheus for, and the metrics that an HPA asks an adapter for."""
    scaling = {"autoscaling": {"enabled": True, "signal": "prometheus"}}
    values = {**scenario_values("ha"), "stageDefaults": scaling, "worker": scaling}
    with helm.Chart.load(CHART) as loaded:
        rendered = render(loaded, values)
    found = {}
    for scaler in rendered.of_kind("ScaledObject", "HorizontalPodAutoscaler"):
        name, spec = f"scaler of {scaler['metadata']['name']}", scaler["spec"]
        for trigger in spec.get("triggers", []):
            found[name] = trigger["metadata"]["query"]
        for metric in (one["pods"]["metric"]["name"] for one in spec.get("metrics", []) if one["type"] == "Pods"):
            found[f"{name}: {metric}"] = metric
    return found


SCALERS = scaler_queries()
QUERIES = {rule["alert"]: rule["expr"] for rule in alert_rules()} | dashboard_queries() | SCALERS


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=120) as response:  # noqa: S310
        return str(response.read().decode())


def exported(text: str) -> Iterator[tuple[str, set[str]]]:
    """Names that queries can ask for, and their labels, as far as there are samples."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels}
        for ending in endings.get(family.type, [""]):
            yield f"{family.name}{ending}", labels


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Everything that a local stack exports after some work: the real face stage, gateway and worker, three fakes."""
    data_dir = tmp_path_factory.mktemp("observability")
    port, metrics_port = free_ports(2)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
    environment |= {"LIKENESS_PORT": str(port), "LIKENESS_METRICS_PORT": str(metrics_port), "LIKENESS_THREADS": "1"}
    environment |= {"LIKENESS_DATA_DIR": str(data_dir), "LIKENESS_DRAIN_WAIT_S": "0", "LIKENESS_LOG_LEVEL": "error"}
    face = subprocess.Popen([sys.executable, "-m", "services.faceswap"], cwd=ROOT, env=environment)
    stages = FakeStages(data_dir)
    targets = stages.targets() | {"faceswap_target": f"127.0.0.1:{port}"}
    gateway = GatewayProcess(data_dir, **targets)
    worker = WorkerProcess(data_dir, **targets)
    try:
        wait_for(lambda: is_serving(f"127.0.0.1:{port}", FACE_SERVICE))
        gateway.client.get("/v1/models")
        gateway.client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "nobody"})
        pages = [page(f"http://127.0.0.1:{server.metrics_port}/metrics") for server in stages.servers.values()]
        pages += [page(f"http://127.0.0.1:{metrics_port}/metrics"), page(worker.metrics_url)]
        pages.append(gateway.client.get("/metrics").text)
        found: dict[str, set[str]] = {}
        for name, labels in (item for text in pages for item in exported(text)):
            found.setdefault(name, set()).update(labels)
        yield found
    finally:
        worker.close()
        gateway.close()
        stages.close()
        face.terminate()
        face.wait(timeout=120)


@pytest.mark.parametrize("name", QUERIES)
def test_queries_use_metrics_that_are_exported(live: dict[str, set[str]], name: str) -> None:
    query = QUERIES[name]
    metrics = set(re.findall(r"\b((?:likeness|process|DCGM)_\w+)", query))
    assert metrics
    assert metrics - OTHERS - set(live) == set()
    grouped = {label for labels in re.findall(r"by \(([^)]*)\)", query) for label in re.split(r",\s*", labels)}
    selected = {label for labels in re.findall(r"\{([^}]*)\}", query) for label in re.findall(r"(\w+)\s*[=!]", labels)}
    known = SCRAPED | {label for metric in metrics & set(live) for label in live[metric]}
    without_samples = {metric for metric in metrics & set(live) if not live[metric] - {"le"}}
    if not without_samples:
        assert (grouped | selected) - known == set()


def test_most_queries_were_checked_for_their_labels(live: dict[str, set[str]]) -> None:
    labelled = {name for name, labels in live.items() if name.startswith("likeness_") and labels - {"le"}}
    assert {"likeness_http_requests_total", "likeness_model_load_seconds", "likeness_problems_total"} <= labelled


def test_an_unknown_metric_would_be_noticed(live: dict[str, set[str]]) -> None:
    assert "likeness_requests_total" in live and "likeness_request_total" not in live


def test_scalers_of_stages_and_workers_are_among_the_queries() -> None:
    asked = " ".join(SCALERS.values())
    for metric in ('likeness_inflight{stage="vocoder"', "likeness_queue_depth", "likeness_jobs{"):
        assert metric in asked
    assert "scaler of likeness-faceswap: likeness_inflight" in SCALERS


def test_dashboard_is_what_its_script_writes() -> None:
    command = [sys.executable, "scripts/dashboard.py", "--check"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_each_alert_has_a_page_in_the_runbook() -> None:
    text = (ROOT / "docs/deploy/runbook.md").read_text()
    headings = set(re.findall(r"^## (Likeness\w+)$", text, re.MULTILINE))
    assert headings == {rule["alert"] for rule in alert_rules()}


def test_rules_and_dashboard_reach_the_cluster_unchanged(chart: helm.Chart) -> None:
    rendered = render(chart, scenario_values("ha"))
    rules = rendered.one("PrometheusRule", "likeness")["spec"]["groups"]
    assert [rule for group in rules for rule in group["rules"]] == alert_rules()
    board = rendered.one("ConfigMap", "likeness-dashboard")["data"]["likeness.json"]
    assert json.loads(board) == json.loads((CHART / "files/dashboard.json").read_text())


def test_each_program_is_scraped_on_a_port_that_it_has(chart: helm.Chart) -> None:
    rendered = render(chart, scenario_values("ha"))
    monitors = rendered.of_kind("PodMonitor")
    assert len(monitors) == 6
    for monitor in monitors:
        ((_, container),) = rendered.running(monitor["metadata"]["name"].removeprefix("likeness-"))
        ports = {port["name"] for port in container["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_round_trip_of_helm_test_works(tmp_path: Path) -> None:
    """The very script and recording of the test pod, against a gateway that wants a key."""
    key = "lk_0123456789ab_" + "k" * 43
    stages = FakeStages(tmp_path)
    gateway = GatewayProcess(tmp_path, auth="keys", bootstrap_key=key, **stages.targets())
    try:
        script, recording = CHART / "files/roundtrip.py", CHART / "files/persona.opus"
        command = [sys.executable, str(script), str(gateway.client.base_url), str(recording)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        refused = subprocess.run(command, env={**environment, "LIKENESS_API_KEY": ""}, capture_output=True, text=True)
        assert refused.returncode != 0 and "API key" in refused.stderr
        done = subprocess.run(command, env={**environment, "LIKENESS_API_KEY": key}, capture_output=True, text=True)
        assert (done.returncode, "s of speech" in done.stdout) == (0, True), done.stderr
        client = gateway.client
        voices = client.get("/v1/audio/voices", headers={"Authorization": f"Bearer {key}"}).json()
        assert voices["data"] == []
    finally:
        gateway.close()
        stages.close()
