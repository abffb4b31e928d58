"""Pod Security Standard "restricted" (kubernetes.io/docs/concepts/security/pod-security-standards), and a bit more:
a read-only root, no API token, requests for CPU and memory, images that do not change under one's feet."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chart.rendering import Document, containers, pod_spec

VOLUME_KINDS = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def breaches(workload: Document) -> list[str]:
    """What a workload does that it must not, one sentence each."""
    found = list(_pod_breaches(pod_spec(workload)))
    for container in containers(workload):
        found += [f"{container['name']}: {breach}" for breach in _container_breaches(container, pod_spec(workload))]
    return found


def _pod_breaches(spec: Document) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is on"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUME_KINDS:
            yield f"volume {volume['name']} is a {kinds}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "an API token is mounted"
    if spec.get("enableServiceLinks") is not False:
        yield "Services of the namespace set LIKENESS_* variables"
    security = spec.get("securityContext", {})
    if security.get("sysctls"):
        yield "sysctls are set"
    if security.get("runAsUser") == 0:
        yield "the pod runs as root"


def _container_breaches(container: Document, spec: Document) -> Iterator[str]:
    own = container.get("securityContext", {})
    pod = spec.get("securityContext", {})
    effective = {**pod, **own}
    if effective.get("runAsNonRoot") is not True or own.get("runAsUser") == 0:
        yield "may run as root"
    if effective.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "no seccomp profile"
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    capabilities = own.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "has capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    if own.get("readOnlyRootFilesystem") is not True:
        yield "may write to its image"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "takes a port of the node"
    if not {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {})):
        yield "requests no cpu or memory"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield "has no memory limit"
    image = str(container["image"])
    version = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in image and version in ("", "latest"):
        yield f"image {image} names no version"
