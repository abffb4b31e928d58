"""Rules that every rendered scenario keeps, against the code that will run in the pods."""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import helm_python as helm
import pytest
from kubernetes_validate import validate  # type: ignore[import-untyped]

from services.common.settings import StageSettings
from services.gateway.accounts.secrets import read_key
from services.gateway.settings import GatewaySettings
from tests.chart.import_graph import imported_by
from tests.chart.rendering import (
    PROGRAMS,
    ROOT,
    SCENARIOS,
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
    for workload in rendered.of_kind("Deployment", "StatefulSet"):
        selector = workload["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
        assert selector.items() <= pod_labels(workload).items()


def test_an_upgrade_changes_nothing_immutable(chart: helm.Chart) -> None:
    """previous.json is what the chart of version 0.1.0, before it had workers, made of what cannot be changed."""
    now = render(chart, {})
    for name, fixed in json.loads(Path(__file__).with_name("previous.json").read_text()).items():
        document = now.one(*name.split("/"))
        spec = document["spec"]
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
        kept = {**{key: spec.get(key) for key in fixed}, **({"claims": claims} if "claims" in fixed else {})}
        assert kept == fixed, name


def test_companions_belong_to_a_workload(rendered: Rendered) -> None:
    workloads = {(one["kind"], one["metadata"]["name"]): one for one in rendered.workloads}
    scalers = rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    for scaler in scalers:
        spec = scaler["spec"]
        target = workloads[spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]]
        assert "replicas" not in target["spec"]  # would fight it
        low, high = (spec.get(f"{side}Replicas", spec.get(f"{side}ReplicaCount")) for side in ("min", "max"))
        assert low <= high
    assert len({scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers}) == len(scalers)
    for budget in rendered.of_kind("PodDisruptionBudget"):
        selector = budget["spec"]["selector"]["matchLabels"].items()
        assert sum(selector <= pod_labels(workload).items() for workload in rendered.workloads) == 1
        assert budget["spec"]["maxUnavailable"] != 0  # no node could ever be drained
    for ingress in rendered.of_kind("Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            backend = path["backend"]["service"]
            ports = rendered.one("Service", backend["name"])["spec"]["ports"]
            assert backend["port"]["name"] in [port["name"] for port in ports]


def test_sqlite_is_never_shared_between_pods(rendered: Rendered) -> None:
    ((gateway, container),) = rendered.running("gateway")
    data = next(volume for volume in pod_spec(gateway)["volumes"] if volume["name"] == "data")
    if "LIKENESS_DATABASE_URL" in plain_environment(container):
        assert "persistentVolumeClaim" not in data
        return
    assert gateway["spec"]["replicas"] == 1
    assert gateway["spec"]["strategy"] == {"type": "Recreate"}
    claim = rendered.one("PersistentVolumeClaim", data["persistentVolumeClaim"]["claimName"])
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_generated_secrets_are_kept_and_all_secrets_are_there(rendered: Rendered) -> None:
    made = {secret["metadata"]["name"]: set(secret["data"]) for secret in rendered.of_kind("Secret")}
    for secret in rendered.of_kind("Secret"):
        assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for workload in rendered.workloads:
        for container in containers(workload):
            for entry in container["env"]:
                wanted = entry.get("valueFrom", {}).get("secretKeyRef")
                if wanted and wanted["name"].startswith("likeness-") and wanted["name"] in made:
                    assert wanted["key"] in made[wanted["name"]]


def test_the_generated_key_is_one_that_the_gateway_takes(chart: helm.Chart) -> None:
    keys = [render(chart, {}).one("Secret", "likeness-api-key")["data"]["key"] for _ in range(2)]
    assert len(set(keys)) == 2
    for key in keys:
        assert read_key(base64.b64decode(key).decode()).prefix.startswith("lk_")


def test_long_release_names_stay_valid(chart: helm.Chart) -> None:
    for scenario in SCENARIOS:
        for document in render(chart, scenario_values(scenario), name="a" * 53).documents:
            assert len(document["metadata"]["name"]) <= 63


def test_notes_say_how_to_get_in(chart: helm.Chart) -> None:
    notes = render(chart, {}).notes
    assert "WARNING" not in notes and "get secret likeness-api-key" in notes and "helm test" in notes
    named = render(chart, {"gateway": {"apiKey": {"existingSecret": "mine", "key": "api.key"}}}).notes
    assert "get secret mine" in named and "{.data.api\\.key}" in named
    assert "WARNING" in render(chart, {"gateway": {"allowUnauthenticated": True}}).notes
    assert "image.registry" in notes and "image.registry" not in render(chart, {"image": {"registry": "inside"}}).notes
    off = render(chart, {"stages": {"vocoder": {"settings": {"grants": "off"}}}}).notes
    assert "WARNING: grants of vocoder" in off and off.count("WARNING") == 1
    behind = {"enabled": True, "host": "likeness.example.org"}
    assert "WARNING: gateway.ingress.tlsSecretName" in render(chart, {"gateway": {"ingress": behind}}).notes
    secured = render(chart, {"gateway": {"ingress": {**behind, "tlsSecretName": "cert"}}}).notes
    assert "WARNING" not in secured and "https://likeness.example.org" in secured


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("scenario", ["default", "external-everything"])
def test_backups_are_restored_in_the_gateways_place(chart: helm.Chart, scenario: str) -> None:
    """The pod that docs/deploy has jq make: image, variables and volumes of the gateway, and nothing that runs."""
    gateway = render(chart, scenario_values(scenario)).one("Deployment", "likeness-gateway")
    command = ["jq", "--from-file", str(ROOT / "docs/deploy/restore-pod.jq")]
    made = subprocess.run(command, input=json.dumps(gateway), check=True, capture_output=True, text=True)
    pod = json.loads(made.stdout)
    assert validate(pod, "1.30", strict=True) and breaches(pod) == []
    (container,) = pod["spec"]["containers"]
    served = next(item for item in containers(gateway) if item["name"] == "gateway")
    assert container["command"][0] == "sleep" and not [key for key in container if key.endswith("Probe")]
    assert (container["image"], container["env"]) == (served["image"], served["env"])
    assert pod["spec"]["volumes"] == pod_spec(gateway)["volumes"]
    assert pod_labels(pod) == pod_labels(gateway)  # so that its NetworkPolicy lets it through


# --- what each scenario is there for ---


def test_stage_values_are_merged_over_the_defaults(chart: helm.Chart) -> None:
    """Overriding one thing of one stage leaves its other things, and the other stages, as they were."""
    before = render(chart, {})
    values = {"stages": {"vocoder": {"replicas": 3, "resources": {"limits": {"memory": "3Gi"}}}}}
    after = render(chart, values)
    vocoder = after.one("Deployment", "likeness-vocoder")
    (container,) = containers(vocoder)
    assert vocoder["spec"]["replicas"] == 3
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "3Gi"}
    for stage in ("encoder", "synthesizer", "faceswap"):
        assert after.one("Deployment", f"likeness-{stage}") == before.one("Deployment", f"likeness-{stage}")


def test_gpu_stages_land_on_gpu_nodes(chart: helm.Chart) -> None:
    scenario = render(chart, scenario_values("gpu"))
    wanted = {"encoder": "nvidia.com/mig-1g.10gb", "faceswap": "nvidia.com/gpu"}
    for stage in STAGES:
        ((workload, container),) = scenario.running(stage)
        graphics = {name: count for name, count in container["resources"]["limits"].items() if "nvidia" in name}
        assert graphics == ({wanted[stage]: 1} if stage in wanted else {})
        tolerated = [toleration["key"] for toleration in pod_spec(workload).get("tolerations", [])]
        assert tolerated == (["nvidia.com/gpu"] if stage in wanted else [])
        assert pod_spec(workload).get("runtimeClassName") == ("nvidia" if stage in wanted else None)
    assert scenario.running("encoder")[0][1]["image"].endswith("likeness-encoder:0.1.0-gpu")


def test_large_numbers_are_written_out(chart: helm.Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = render(chart, {"gateway": {"settings": {"max_upload_bytes": 52_428_800}}})
    for program in ("gateway", "worker"):
        ((_, container),) = scenario.running(program)
        assert _settings(container, program, monkeypatch).max_upload_bytes == 52_428_800


def test_settings_of_workers_go_before_those_of_gateways(chart: helm.Chart) -> None:
    values = {
        "gateway": {"settings": {"worker_jobs": 1, "film_parallel_segments": 3, "workers": 4}},
        "worker": {"settings": {"worker_jobs": 5}},
    }
    variables = plain_environment(render(chart, values).running("worker")[0][1])
    assert (variables["LIKENESS_WORKER_JOBS"], variables["LIKENESS_FILM_PARALLEL_SEGMENTS"]) == ("5", "3")
    assert "LIKENESS_WORKERS" not in variables


def test_a_registry_is_put_before_images_with_or_without_its_slash(chart: helm.Chart) -> None:
    for registry in ("registry.example.org:5000/media", "registry.example.org:5000/media/"):
        ((_, container),) = render(chart, {"image": {"registry": registry}}).running("encoder")
        assert container["image"] == "registry.example.org:5000/media/likeness-encoder:0.1.0"


def test_a_stage_may_be_stopped_before_the_next_one_starts(chart: helm.Chart) -> None:
    """Kubernetes refuses the figures of a rolling update beside Recreate."""
    stages = {"faceswap": {"strategy": {"type": "Recreate"}}}
    assert render(chart, {"stages": stages}).one("Deployment", "likeness-faceswap")["spec"]["strategy"] == {
        "type": "Recreate"
    }
    usual = render(chart, {}).one("Deployment", "likeness-faceswap")["spec"]["strategy"]
    assert usual == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_what_is_compiled_is_kept_where_the_values_say(chart: helm.Chart) -> None:
    values = {"stages": {"faceswap": {"modelCache": {"existingClaim": "kernels"}}}}
    for stage, kind in (("faceswap", "persistentVolumeClaim"), ("encoder", "emptyDir")):
        ((workload, container),) = render(chart, values).running(stage)
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "cache")
        assert plain_environment(container)["NUMBA_CACHE_DIR"].startswith(mount["mountPath"] + "/")
        (volume,) = (volume for volume in pod_spec(workload)["volumes"] if volume["name"] == "cache")
        assert kind in volume


def test_airgapped_takes_every_image_from_inside(chart: helm.Chart) -> None:
    for workload in render(chart, scenario_values("airgapped")).workloads:
        for container in containers(workload):
            assert container["image"].startswith("registry.internal:5000/")
            assert container["imagePullPolicy"] != "Always"


def test_what_somebody_waits_for_goes_before_jobs(chart: helm.Chart) -> None:
    scenario = render(chart, scenario_values("ha"))
    value = {one["metadata"]["name"]: one["value"] for one in scenario.of_kind("PriorityClass")}
    of = {name: value[pod_spec(scenario.running(name)[0][0])["priorityClassName"]] for name in ("vocoder", "worker")}
    assert of["vocoder"] > of["worker"]
