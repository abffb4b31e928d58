"""Rules that every rendered scenario keeps, against the code that will run in the pods."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import helm_python as helm
import pytest

from services.common.settings import StageSettings
from services.gateway.settings import GatewaySettings
from tests.chart.rendering import (
    PROGRAMS,
    STAGES,
    Document,
    Rendered,
    component,
    containers,
    plain_environment,
    pod_labels,
    pod_spec,
    render,
    scenario_values,
    settings_class,
)
from tests.chart.restricted import breaches

# --- security ---


def test_pods_keep_the_restricted_standard(rendered: Rendered) -> None:
    assert {component(workload) for workload in rendered.workloads} >= set(PROGRAMS)
    assert {component(workload): breaches(workload) for workload in rendered.workloads if breaches(workload)} == {}


@pytest.mark.parametrize(
    "weaken",
    [
        lambda spec: spec.update(hostNetwork=True),
        lambda spec: spec.update(automountServiceAccountToken=True),
        lambda spec: spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}}),
        lambda spec: spec["securityContext"].pop("seccompProfile"),
        lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        lambda spec: spec["containers"][0]["securityContext"].update(privileged=True),
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        lambda spec: spec["containers"][0]["securityContext"]["capabilities"].update(add=["SYS_ADMIN"]),
        lambda spec: spec["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
        lambda spec: spec["containers"][0]["resources"].pop("requests"),
        lambda spec: spec["containers"][0].update(image="likeness-encoder"),
        lambda spec: spec["containers"][0].update(image="registry:5000/likeness-encoder:latest"),
    ],
)
def test_a_weakened_pod_is_noticed(chart: helm.Chart, weaken: Callable[[Document], object]) -> None:
    workload = render(chart, {}).one("Deployment", "likeness-encoder")
    assert breaches(workload) == []
    weaken(workload["spec"]["template"]["spec"])
    assert len(breaches(workload)) == 1


def test_service_accounts_have_no_token_and_exist(rendered: Rendered) -> None:
    accounts = {account["metadata"]["name"]: account for account in rendered.of_kind("ServiceAccount")}
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    assert {pod_spec(workload)["serviceAccountName"] for workload in rendered.workloads} == set(accounts)


def test_nothing_secret_is_written_into_a_pod(rendered: Rendered) -> None:
    for workload in rendered.workloads:
        for container in containers(workload):
            for entry in container["env"]:
                if entry["name"].endswith(("_KEY", "PASSWORD", "DATABASE_URL")):
                    assert "secretKeyRef" in entry["valueFrom"]


def test_everything_mounted_is_declared_and_tmp_is_writable(rendered: Rendered) -> None:
    for workload in rendered.workloads:
        volumes = {volume["name"]: volume for volume in pod_spec(workload)["volumes"]}
        volumes |= {claim["metadata"]["name"]: claim for claim in workload["spec"].get("volumeClaimTemplates", [])}
        for container in containers(workload):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            assert set(mounts.values()) == set(volumes)
            assert "emptyDir" in volumes[mounts["/tmp"]]  # noqa: S108


# --- agreement with the programs ---


def _settings(workload: Document, monkeypatch: pytest.MonkeyPatch) -> Any:
    (container,) = containers(workload)
    for name, value in plain_environment(container).items():
        monkeypatch.setenv(name, value)
    return settings_class(component(workload))()


@pytest.mark.parametrize("program", PROGRAMS)
def test_variables_exist_in_the_settings(rendered: Rendered, program: str) -> None:
    (container,) = containers(rendered.one("Deployment", f"likeness-{program}"))
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    ours = {name.removeprefix("LIKENESS_").lower() for name in names if name.startswith("LIKENESS_")}
    assert len(ours) > 5
    assert ours <= set(settings_class(program).model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_settings_load_and_agree(rendered: Rendered, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program reads from its variables the ports that are probed, and time to drain that the pod grants."""
    workload = rendered.one("Deployment", f"likeness-{stage}")
    (container,) = containers(workload)
    settings = _settings(workload, monkeypatch)
    assert isinstance(settings, StageSettings)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    usual = type(settings).model_fields
    assert ports == {"grpc": usual["port"].default, "metrics": usual["metrics_port"].default}
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")
    assert pod_spec(workload)["terminationGracePeriodSeconds"] >= settings.drain_wait_s + settings.drain_grace_s + 10
    assert 0 < settings.threads <= math.ceil(float(container["resources"]["limits"]["cpu"]))
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    assert annotations.get("prometheus.io/port", str(settings.metrics_port)) == str(settings.metrics_port)


@pytest.mark.parametrize("stage", STAGES)
def test_probes_name_the_health_service_of_the_proto(rendered: Rendered, stage: str) -> None:
    descriptor = import_module(f"likeness.v1.{stage}_pb2").DESCRIPTOR
    (service,) = (service.full_name for service in descriptor.services_by_name.values())
    (container,) = containers(rendered.one("Deployment", f"likeness-{stage}"))
    port = next(port["containerPort"] for port in container["ports"] if port["name"] == "grpc")
    assert container["startupProbe"]["grpc"] == {"port": port, "service": service}
    assert container["readinessProbe"]["grpc"] == {"port": port, "service": service}
    assert container["livenessProbe"]["grpc"] == {"port": port, "service": ""}  # alive while the model loads
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def test_gateway_settings_load_and_agree(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    workload = rendered.one("Deployment", "likeness-gateway")
    (container,) = containers(workload)
    settings = _settings(workload, monkeypatch)
    assert isinstance(settings, GatewaySettings)
    assert settings.refusal_to_listen() is None
    assert container["ports"] == [{"name": "http", "containerPort": settings.http_port}]
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_spec(workload)["terminationGracePeriodSeconds"] >= pre_stop_s + settings.graceful_timeout_s + 10
    for kind in ("startup", "readiness", "liveness"):
        probe = container[f"{kind}Probe"]
        if settings.is_loopback:
            assert f"http://127.0.0.1:{settings.http_port}/healthz" in probe["exec"]["command"][-1]
        else:
            assert probe["httpGet"] == {"path": "/healthz", "port": "http"}
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    assert not (settings.is_loopback and "prometheus.io/scrape" in annotations)


def test_gateway_finds_each_stage(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(rendered.one("Deployment", "likeness-gateway"), monkeypatch)
    for stage in STAGES:
        target = getattr(settings, f"{stage}_target")
        assert target.startswith("dns:///")  # all pods of the Service, not one
        host, _, port = target.removeprefix("dns:///").partition(":")
        name, namespace, kind, *_ = host.split(".")
        service = rendered.one("Service", name)
        assert (namespace, kind) == ("media", "svc")
        assert service["spec"]["clusterIP"] == "None"
        assert component(service) == stage
        assert int(port) in [entry["port"] for entry in service["spec"]["ports"]]


def test_all_use_one_object_store(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for program in PROGRAMS:
        with monkeypatch.context() as environment:
            settings = _settings(rendered.one("Deployment", f"likeness-{program}"), environment)
            found.add((settings.store_url, settings.store_bucket, settings.store_region, settings.store_secure))
    ((url, _, _, secure),) = found
    endpoint = urlsplit(url)
    assert endpoint.scheme == "s3" and endpoint.netloc and not endpoint.path
    bundled = [workload for workload in rendered.workloads if component(workload) == "store"]
    assert secure is not bool(bundled)  # the bundled one speaks plain HTTP
    for workload in bundled:
        assert endpoint.hostname and endpoint.hostname.split(".")[0] == workload["spec"]["serviceName"]


# --- agreement of the objects with each other ---


def test_services_reach_a_listening_port_of_one_workload(rendered: Rendered) -> None:
    assert len(rendered.of_kind("Service")) >= len(PROGRAMS)
    for service in rendered.of_kind("Service"):
        selector = service["spec"]["selector"].items()
        (workload,) = (workload for workload in rendered.workloads if selector <= pod_labels(workload).items())
        listening = {port["name"]: port["containerPort"] for item in containers(workload) for port in item["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in listening
            if service["spec"].get("clusterIP") == "None":  # nothing translates the port of a headless Service
                assert port["port"] == listening[port["targetPort"]]


def test_selectors_hold_only_what_never_changes(rendered: Rendered) -> None:
    for workload in rendered.workloads:
        selector = workload["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
        assert selector.items() <= pod_labels(workload).items()


def test_companions_belong_to_a_workload(rendered: Rendered) -> None:
    names = {workload["metadata"]["name"] for workload in rendered.workloads}
    for scaler in rendered.of_kind("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] in names
        assert "replicas" not in rendered.one("Deployment", scaler["metadata"]["name"])["spec"]  # would fight it
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
    for budget in rendered.of_kind("PodDisruptionBudget"):
        selector = budget["spec"]["selector"]["matchLabels"].items()
        assert sum(selector <= pod_labels(workload).items() for workload in rendered.workloads) == 1
        assert budget["spec"]["maxUnavailable"] != 0  # no node could ever be drained
    for ingress in rendered.of_kind("Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in [
            port["name"] for port in rendered.one("Service", backend["name"])["spec"]["ports"]
        ]


def test_sqlite_is_never_shared(rendered: Rendered) -> None:
    gateway = rendered.one("Deployment", "likeness-gateway")
    (container,) = containers(gateway)
    data = next(volume for volume in pod_spec(gateway)["volumes"] if volume["name"] == "data")
    if "LIKENESS_DATABASE_URL" in plain_environment(container):
        assert "persistentVolumeClaim" not in data
        return
    assert gateway["spec"]["replicas"] == 1
    assert gateway["spec"]["strategy"] == {"type": "Recreate"}
    claim = rendered.one("PersistentVolumeClaim", data["persistentVolumeClaim"]["claimName"])
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_long_release_names_stay_valid(chart: helm.Chart) -> None:
    for document in render(chart, {}, name="a" * 53).documents:
        assert len(document["metadata"]["name"]) <= 63


def test_notes_warn_of_an_open_gateway(chart: helm.Chart) -> None:
    assert "WARNING" not in render(chart, {}).notes
    assert "WARNING" in render(chart, {"gateway": {"allowUnauthenticated": True}}).notes


# --- what each scenario is there for ---


def test_stage_values_are_merged_over_the_defaults(chart: helm.Chart) -> None:
    """Overriding one thing of one stage leaves its other things, and the other stages, as they were."""
    before = render(chart, {})
    values = {"stages": {"vocoder": {"replicas": 3, "resources": {"limits": {"nvidia.com/gpu": 1}}}}}
    after = render(chart, values)
    vocoder = after.one("Deployment", "likeness-vocoder")
    (container,) = containers(vocoder)
    assert vocoder["spec"]["replicas"] == 3
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": 1}
    for stage in ("encoder", "synthesizer", "faceswap"):
        assert after.one("Deployment", f"likeness-{stage}") == before.one("Deployment", f"likeness-{stage}")


def test_gpu_stages_land_on_gpu_nodes(chart: helm.Chart) -> None:
    scenario = render(chart, scenario_values("gpu"))
    for stage in STAGES:
        workload = scenario.one("Deployment", f"likeness-{stage}")
        (container,) = containers(workload)
        wants_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        assert wants_gpu is (stage != "encoder")
        assert (
            any(toleration["key"] == "nvidia.com/gpu" for toleration in pod_spec(workload).get("tolerations", []))
            is wants_gpu
        )


def test_large_numbers_are_written_out(chart: helm.Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = render(chart, {"gateway": {"settings": {"max_upload_bytes": 52_428_800}}})
    assert _settings(scenario.one("Deployment", "likeness-gateway"), monkeypatch).max_upload_bytes == 52_428_800
