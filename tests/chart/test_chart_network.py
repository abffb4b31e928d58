"""Pods may talk to those that their programs call, and to no others; the ways in show what users need, and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest

from services.gateway.app import create_app
from services.gateway.settings import GatewaySettings
from services.gateway.stages import SERVICE_NAMES
from tests.chart.import_graph import imported_by
from tests.chart.rendering import (
    SCENARIOS,
    Document,
    Rendered,
    component,
    containers,
    plain_environment,
    pod_labels,
    render,
    scenario_values,
)

Edge = tuple[str, str, int]
PROGRAM = {"gateway": "services.gateway.__main__", "worker": "services.gateway.worker"}


def _called(rendered: Rendered) -> set[Edge]:
    """Who calls whom within the release, by what the programs import and the variables tell them."""
    ports = {
        component(workload): {
            port["name"]: port["containerPort"] for item in containers(workload) for port in item.get("ports", [])
        }
        for workload in rendered.workloads
    }
    edges: set[Edge] = set()
    for workload in rendered.workloads:
        caller = component(workload)
        for container in containers(workload):
            variables = plain_environment(container)
            for stage in SERVICE_NAMES:
                if f"LIKENESS_{stage.upper()}_TARGET" in variables:
                    edges.add((caller, stage, ports[stage]["grpc"]))
            if "store" in ports and "LIKENESS_STORE_URL" in variables:
                edges.add((caller, "store", ports["store"]["s3"]))
            if "database" in ports and "LIKENESS_DATABASE_URL" in variables:
                edges.add((caller, "database", ports["database"]["postgresql"]))
            if any(argument.startswith("http://likeness-gateway.") for argument in container.get("args", [])):
                edges.add((caller, "gateway", ports["gateway"]["http"]))
    return edges


def _peers(rule: Document, direction: str) -> set[str]:
    return {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for peer in rule.get(direction, [])
        if "matchLabels" in peer.get("podSelector", {}) and "namespaceSelector" not in peer
    }


def _allowed(rendered: Rendered) -> tuple[set[Edge], set[Edge]]:
    """Edges between pods of the release, as the policies of callers and of those that are called have them."""
    outgoing: set[Edge] = set()
    incoming: set[Edge] = set()
    for policy in rendered.of_kind("NetworkPolicy"):
        here = component(policy)
        for rule in policy["spec"].get("egress", []):
            outgoing |= {(here, peer, port["port"]) for peer in _peers(rule, "to") for port in rule["ports"]}
        for rule in policy["spec"].get("ingress", []):
            incoming |= {(peer, here, port["port"]) for peer in _peers(rule, "from") for port in rule["ports"]}
    return outgoing, incoming


def test_edges_are_those_of_the_call_graph(rendered: Rendered) -> None:
    if not rendered.of_kind("NetworkPolicy"):
        pytest.skip("this scenario has no policies")
    called = _called(rendered)
    assert len(called) >= 5
    outgoing, incoming = _allowed(rendered)
    assert outgoing == called
    assert incoming | {edge for edge in called if edge[1] == "gateway"} == called


def test_the_programs_call_stages_as_the_policies_say() -> None:
    """Only gateway and worker hold the client of the stages; no stage calls another."""
    for module in PROGRAM.values():
        assert "services.gateway.stages" in imported_by([module]).modules
    for stage in SERVICE_NAMES:
        modules = imported_by([f"services.{stage}.__main__"]).modules
        assert "services.common.client" not in modules and "services.gateway.stages" not in modules


def test_every_pod_has_a_policy_and_the_rest_is_refused(rendered: Rendered) -> None:
    policies = rendered.of_kind("NetworkPolicy")
    if not policies:
        pytest.skip("this scenario has no policies")
    (deny,) = (policy for policy in policies if component(policy) == "deny")
    assert not {"ingress", "egress"} & set(deny["spec"])
    for workload in rendered.workloads:
        assert deny["spec"]["podSelector"]["matchLabels"].items() <= pod_labels(workload).items()
        mine = [
            one for one in policies if one["spec"]["podSelector"]["matchLabels"].items() <= pod_labels(workload).items()
        ]
        assert len(mine) == 2  # the refusal of everything, and its own
        assert all(policy["spec"]["policyTypes"] == ["Ingress", "Egress"] for policy in mine)


def _open_ports(policy: Document) -> set[tuple[str, int]]:
    """Ports of rules that name no peer."""
    rules = policy["spec"].get("egress", [])
    return {(port["protocol"], int(port["port"])) for rule in rules if "to" not in rule for port in rule["ports"]}


def test_what_leaves_the_release_is_named(rendered: Rendered) -> None:
    """Names, and of what is outside only its port; pods without such needs can reach nothing."""
    scenario = {
        "DNS": {("UDP", 53), ("TCP", 53)},
        "outside": {("TCP", 443), ("TCP", 9000), ("TCP", 5432), ("TCP", 6432), ("TCP", 6379), ("TCP", 4318)},
    }
    for policy in rendered.of_kind("NetworkPolicy"):
        ports = _open_ports(policy)
        assert ports <= scenario["DNS"] | scenario["outside"]
        if component(policy) in ("store", "database"):
            assert "egress" not in policy["spec"]
        if component(policy) in ("synthesizer", "vocoder"):
            assert ports <= scenario["DNS"] | {("TCP", 4318)}


def test_webhooks_reach_public_addresses_only(chart: helm.Chart) -> None:
    for scenario, name in (("default", "gateway"), ("ha", "worker")):
        policy = render(chart, scenario_values(scenario)).one("NetworkPolicy", f"likeness-{name}")
        (public,) = (rule for rule in policy["spec"]["egress"] if "ipBlock" in str(rule))
        barred = {network for peer in public["to"] for network in peer["ipBlock"]["except"]}
        assert {"10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7"} <= barred
        assert public["ports"] == [{"protocol": "TCP", "port": 443}]


def test_metrics_are_for_those_who_watch(chart: helm.Chart) -> None:
    scenario = render(chart, scenario_values("ha"))
    for name in ("vocoder", "worker"):
        port = next(one["containerPort"] for one in scenario.running(name)[0][1]["ports"] if one["name"] == "metrics")
        policy = scenario.one("NetworkPolicy", f"likeness-{name}")
        (rule,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == port)
        assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_a_gateway_behind_its_peers_can_still_be_watched(chart: helm.Chart) -> None:
    """Its metrics are on the port of its API."""
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    front = scenario_values("external-everything")["gateway"]["networkPolicyFrom"]
    for watching in ([], monitoring):
        values = {**scenario_values("external-everything"), "networkPolicy": {"metricsFrom": watching}}
        policy = render(chart, values).one("NetworkPolicy", "likeness-gateway")
        peers = [peer for rule in policy["spec"]["ingress"] for peer in rule["from"] if "namespaceSelector" in peer]
        assert peers == front + watching


def test_scalers_reach_the_bundled_database(chart: helm.Chart) -> None:
    keda = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    values = {
        "database": {"mode": "bundled"},
        "worker": {"autoscaling": {"enabled": True}},
        "networkPolicy": {"scalersFrom": keda},
    }
    rules = render(chart, values).one("NetworkPolicy", "likeness-database")["spec"]["ingress"]
    assert {"from": keda, "ports": [{"protocol": "TCP", "port": 5432}]} in rules


# --- the ways in ---


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths of the gateway, an example for each."""
    app = create_app(GatewaySettings(data_dir=tmp_path_factory.mktemp("routes"), log_level="error"))
    app.extensions["likeness"].close()
    return {re.sub(r"<[^>]+>", "x", rule.rule) for rule in app.url_map.iter_rules()}


def _takes(kind: str, value: str, path: str) -> bool:
    if kind == "Exact":
        return path == value
    return path == value or path.startswith(value.rstrip("/") + "/")


def test_ways_in_show_everything_but_what_is_for_operators(chart: helm.Chart, rules: set[str]) -> None:
    ingress = render(chart, scenario_values("external-everything")).one("Ingress", "likeness-gateway")
    route = render(chart, scenario_values("ha")).one("HTTPRoute", "likeness-gateway")
    paths: list[Any] = ingress["spec"]["rules"][0]["http"]["paths"]
    matches: list[Any] = route["spec"]["rules"][0]["matches"]
    for shown in (
        [(path["pathType"], path["path"]) for path in paths],
        [(match["path"]["type"], match["path"]["value"]) for match in matches],
    ):
        hidden = {rule for rule in rules if not any(_takes(kind, value, rule) for kind, value in shown)}
        assert hidden == {"/metrics", "/readyz"}


def test_scenarios_are_those_of_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/deploy/README.md").read_text()
    assert [name for name in SCENARIOS if f"`{name}`" not in text] == []
