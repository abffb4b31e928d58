"""Objects of a rendered chart agree with each other, and scenarios give what they are there for."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import helm_python as helm
import pytest
from kubernetes_validate import validate  # type: ignore[import-untyped]

from services.gateway.accounts.secrets import read_key
from tests.chart.rendering import (
    PROGRAMS,
    ROOT,
    SCENARIOS,
    STAGES,
    Rendered,
    containers,
    plain_environment,
    pod_labels,
    pod_spec,
    render,
    scenario_values,
)
from tests.chart.restricted import breaches


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


def test_large_numbers_are_written_out(chart: helm.Chart) -> None:
    scenario = render(chart, {"gateway": {"settings": {"max_upload_bytes": 52_428_800}}})
    for program in ("gateway", "worker"):
        ((_, container),) = scenario.running(program)
        assert plain_environment(container)["LIKENESS_MAX_UPLOAD_BYTES"] == "52428800"


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
