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
from services.gateway.accounts.secrets import read_key
from services.gateway.settings import GatewaySettings
from tests.chart.import_graph import imported_by
from tests.chart.rendering import (
    PROGRAMS,
    ROOT,
    STAGES,
    Document,
    Rendered,
    component,
    containers,
    plain_environment,
    pod_spec,
    render,
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
        mounted = set()
        for container in containers(workload):
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            mounted |= set(mounts.values())
            assert "emptyDir" in volumes[mounts["/tmp"]]  # noqa: S108
        assert mounted == set(volumes)


# --- agreement with the programs ---


def _settings(container: Document, program: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As the program reads them from the container's variables."""
    for name, value in plain_environment(container).items():
        monkeypatch.setenv(name, value)
    return settings_class("gateway" if program == "worker" else program)()


@pytest.mark.parametrize("program", [*PROGRAMS, "worker"])
def test_variables_exist_in_the_settings(rendered: Rendered, program: str) -> None:
    ((_, container),) = rendered.running(program)
    names = [entry["name"] for entry in container["env"]]
    assert len(names) == len(set(names))
    ours = {name.removeprefix("LIKENESS_").lower() for name in names if name.startswith("LIKENESS_")}
    assert len(ours) > 5
    assert ours <= set(settings_class("gateway" if program == "worker" else program).model_fields)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_settings_load_and_agree(rendered: Rendered, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program reads from its variables the ports that are probed, and time to drain that the pod grants."""
    ((workload, container),) = rendered.running(stage)
    settings = _settings(container, stage, monkeypatch)
    assert isinstance(settings, StageSettings)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports.pop("health", 0) == settings.health_port
    assert (settings.health_port > 0) is (settings.tls_dir is not None)
    assert ports == {"grpc": settings.port, "metrics": settings.metrics_port}
    usual = type(settings).model_fields
    assert ports == {"grpc": usual["port"].default, "metrics": usual["metrics_port"].default}
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "0.0.0.0")
    assert pod_spec(workload)["terminationGracePeriodSeconds"] >= settings.drain_wait_s + settings.drain_grace_s + 10
    assert 0 < settings.threads <= math.ceil(float(container["resources"]["limits"]["cpu"]))
    assert settings.max_connection_age_s <= 5  # new replicas are found within seconds, see benchmarks.scale
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    assert annotations.get("prometheus.io/port", str(settings.metrics_port)) == str(settings.metrics_port)


@pytest.mark.parametrize("stage", STAGES)
def test_no_running_call_is_cut(rendered: Rendered, stage: str) -> None:
    """A pod that ends waits for the longest call that is no stream; and a preStop is not needed for it."""
    ((workload, container),) = rendered.running(stage)
    gateway = GatewaySettings()
    longest_s = max(gateway.enrolment_deadline_s, gateway.swap_deadline_s)
    assert pod_spec(workload)["terminationGracePeriodSeconds"] > longest_s
    assert float(plain_environment(container)["LIKENESS_DRAIN_GRACE_S"]) >= longest_s


@pytest.mark.parametrize("stage", STAGES)
def test_probes_name_the_health_service_of_the_proto(rendered: Rendered, stage: str) -> None:
    descriptor = import_module(f"likeness.v1.{stage}_pb2").DESCRIPTOR
    (service,) = (service.full_name for service in descriptor.services_by_name.values())
    ((_, container),) = rendered.running(stage)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    port = ports.get("health", ports["grpc"])  # the kubelet speaks no TLS
    assert container["startupProbe"]["grpc"] == {"port": port, "service": service}
    assert container["readinessProbe"]["grpc"] == {"port": port, "service": service}
    assert container["livenessProbe"]["grpc"] == {"port": port, "service": ""}  # alive while the model loads
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


def test_gateway_settings_load_and_agree(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    ((workload, container),) = rendered.running("gateway")
    settings = _settings(container, "gateway", monkeypatch)
    assert isinstance(settings, GatewaySettings)
    assert not settings.is_loopback
    assert settings.is_open is (settings.bootstrap_key == "")  # an own way in front, or a first key
    if settings.bootstrap_key:
        read_key(settings.bootstrap_key)
    assert container["ports"] == [{"name": "http", "containerPort": settings.http_port}]
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod_spec(workload)["terminationGracePeriodSeconds"] >= pre_stop_s + settings.graceful_timeout_s + 10
    assert settings.graceful_timeout_s >= max(settings.enrolment_deadline_s, settings.speech_deadline_s)
    for kind in ("startup", "readiness", "liveness"):
        assert container[f"{kind}Probe"]["httpGet"] == {"path": "/healthz", "port": "http"}


@pytest.mark.parametrize("program", ["gateway", "worker"])
def test_callers_find_each_stage(rendered: Rendered, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, container),) = rendered.running(program)
    settings = _settings(container, program, monkeypatch)
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


def test_workers_work_for_the_gateways(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same image, same database, same store; an id that stays; a program that exists."""
    ((_, gateway),) = rendered.running("gateway")
    ((workload, worker),) = rendered.running("worker")
    assert worker["image"] == gateway["image"]
    assert worker["command"] == ["python", "-m", "services.gateway.worker"]
    assert (ROOT / "services/gateway/worker.py").is_file()
    ours, theirs = plain_environment(worker), plain_environment(gateway)
    shared = [name for name in theirs if "STORE" in name or "DATABASE" in name or name.endswith("_TARGET")]
    assert len(shared) > 8 and all(ours[name] == theirs[name] for name in shared)
    settings = _settings(worker, "worker", monkeypatch)
    assert settings.worker_id and settings.metrics_host == "0.0.0.0"
    assert worker["ports"] == [{"name": "metrics", "containerPort": settings.metrics_port}]
    if "LIKENESS_DATABASE_URL" in ours:
        assert workload["kind"] == "StatefulSet"
        (entry,) = (entry for entry in worker["env"] if entry["name"] == "LIKENESS_WORKER_ID")
        assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    else:
        assert component(workload) == "gateway"  # they share the volume with SQLite
        assert {"name": "data", "mountPath": "/data"} in worker["volumeMounts"]


def test_a_database_server_is_migrated_first(rendered: Rendered) -> None:
    servers = "LIKENESS_DATABASE_URL" in plain_environment(rendered.running("gateway")[0][1])
    jobs = rendered.of_kind("Job")
    assert len(jobs) == int(servers)
    for job in jobs:
        hooks = job["metadata"]["annotations"]["helm.sh/hook"].split(",")
        assert "pre-upgrade" in hooks
        bundled = any(component(one) == "database" for one in rendered.of_kind("StatefulSet"))
        assert ("pre-install" in hooks) is not bundled  # it is not there yet
        (container,) = containers(job)
        assert container["command"] == ["python", "-m", "services.gateway.migrate"]
        assert (ROOT / "services/gateway/migrate.py").is_file()
        needed = [rendered.one("ServiceAccount", pod_spec(job)["serviceAccountName"])]
        if rendered.of_kind("NetworkPolicy"):  # that of an earlier version may be for another database, or absent
            needed.append(rendered.one("NetworkPolicy", "likeness-migrate"))
        for before in needed:
            assert before["metadata"]["annotations"]["helm.sh/hook"].split(",") == hooks
            assert int(before["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
            assert before["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation"


def test_all_use_one_object_store(rendered: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for program in ("encoder", "faceswap", "gateway", "worker"):
        with monkeypatch.context() as environment:
            settings = _settings(rendered.running(program)[0][1], program, environment)
            found.add((settings.store_url, settings.store_bucket, settings.store_region, settings.store_secure))
    ((url, _, _, secure),) = found
    endpoint = urlsplit(url)
    assert endpoint.scheme == "s3" and endpoint.netloc and not endpoint.path
    bundled = [workload for workload in rendered.of_kind("StatefulSet") if component(workload) == "store"]
    assert secure is not bool(bundled) or not endpoint.netloc.endswith("cluster.local:9000")
    for workload in bundled:
        assert endpoint.hostname and endpoint.hostname.split(".")[0] == workload["spec"]["serviceName"]


def test_stages_without_media_have_no_keys_of_the_store(rendered: Rendered) -> None:
    for stage in STAGES:
        reaches_store = "services.common.store_s3" in imported_by([f"services.{stage}.__main__"]).modules
        ((_, container),) = rendered.running(stage)
        assert ("LIKENESS_STORE_SECRET_KEY" in plain_environment(container)) is reaches_store
