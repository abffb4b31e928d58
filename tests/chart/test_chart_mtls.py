"""With mtls.enabled every caller and every stage, and nobody else, has a certificate that the other side takes."""

from __future__ import annotations

from typing import Any

import helm_python as helm
import pytest

from services.common.tls import AUTHORITIES, CERTIFICATE, PRIVATE_KEY
from tests.chart.rendering import (
    STAGES,
    Document,
    Rendered,
    component,
    containers,
    plain_environment,
    pod_spec,
    render,
    scenario_values,
)

ISSUER = {"name": "corporate", "kind": "ClusterIssuer"}
VALUES: dict[str, dict[str, Any]] = {
    "sqlite": {**scenario_values("default"), "mtls": {"enabled": True}},
    "ha": scenario_values("ha"),
    "issuer": {**scenario_values("external-everything"), "mtls": {"enabled": True, "issuerRef": ISSUER}},
}


@pytest.fixture(scope="module", params=VALUES)
def secured(request: pytest.FixtureRequest, chart: helm.Chart) -> Rendered:
    return render(chart, VALUES[request.param])


def _tls_secret(workload: Document, container: Document) -> str | None:
    """Name of the Secret that is mounted where LIKENESS_TLS_DIR says."""
    folder = plain_environment(container).get("LIKENESS_TLS_DIR")
    if folder is None:
        return None
    (mount,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == folder)
    (volume,) = (volume for volume in pod_spec(workload)["volumes"] if volume["name"] == mount["name"])
    assert mount["readOnly"] is True and "subPath" not in mount  # which would never see a renewed certificate
    assert "items" not in volume["secret"]  # the files are called as a Secret for TLS calls them
    return str(volume["secret"]["secretName"])


def test_a_secret_for_tls_has_the_files_that_programs_read() -> None:
    assert (CERTIFICATE, PRIVATE_KEY, AUTHORITIES) == ("tls.crt", "tls.key", "ca.crt")


def test_callers_and_stages_hold_the_certificate_that_they_need(secured: Rendered) -> None:
    certificates = {one["spec"]["secretName"]: one for one in secured.of_kind("Certificate")}
    targets = plain_environment(secured.running("gateway")[0][1])
    holders = set()
    for workload in secured.workloads:
        for container in containers(workload):
            secret = _tls_secret(workload, container)
            assert (secret is not None) is (container["name"] in (*STAGES, "gateway", "worker"))
            if secret is None:
                continue
            holders.add(secret)
            certificate = certificates[secret]
            assert component(certificate) == component(workload)
            stage = container["name"] in STAGES
            wanted = "server auth" if stage else "client auth"
            assert certificate["spec"]["usages"] == ["digital signature", wanted]
            assert certificate["spec"]["privateKey"]["rotationPolicy"] == "Always"
            if stage:
                target = targets[f"LIKENESS_{container['name'].upper()}_TARGET"].removeprefix("dns:///")
                assert target.partition(":")[0] in certificate["spec"]["dnsNames"]
    assert holders == {secret for secret, one in certificates.items() if not one["spec"].get("isCA")}


def test_names_of_one_stage_are_not_anothers(secured: Rendered) -> None:
    names = [name for one in secured.of_kind("Certificate") for name in one["spec"].get("dnsNames", [])]
    assert len(names) >= 10 and len(set(names)) == len(names)


def test_the_releases_own_authority(chart: helm.Chart) -> None:
    """Its key is in no pod and outlives renewals; no certificate outlives it."""
    scenario = render(chart, VALUES["ha"])
    leaves = [one["spec"] for one in scenario.of_kind("Certificate") if not one["spec"].get("isCA")]
    (authority,) = (one["spec"] for one in scenario.of_kind("Certificate") if one["spec"].get("isCA"))
    assert {leaf["issuerRef"]["name"] for leaf in leaves} == {"likeness-ca"} and len(leaves) == 6
    assert scenario.one("Issuer", "likeness-ca")["spec"] == {"ca": {"secretName": authority["secretName"]}}
    assert scenario.one("Issuer", authority["issuerRef"]["name"])["spec"] == {"selfSigned": {}}
    assert authority["privateKey"]["rotationPolicy"] == "Never"
    hours = [int(leaf["duration"].removesuffix("h")) for leaf in leaves]
    assert max(hours) <= int(authority["renewBefore"].removesuffix("h"))
    assert authority["secretName"] not in {
        volume.get("secret", {}).get("secretName")
        for workload in scenario.workloads
        for volume in pod_spec(workload)["volumes"]
    }


def test_an_issuer_of_your_own_signs_all(chart: helm.Chart) -> None:
    scenario = render(chart, VALUES["issuer"])
    assert scenario.of_kind("Issuer") == []
    refs = [one["spec"]["issuerRef"] for one in scenario.of_kind("Certificate")]
    assert refs == [{**ISSUER, "group": "cert-manager.io"}] * 6


def test_one_pod_has_one_certificate(chart: helm.Chart) -> None:
    """With SQLite the worker is in the gateway's pod."""
    scenario = render(chart, VALUES["sqlite"])
    of = {name: _tls_secret(*scenario.running(name)[0]) for name in ("gateway", "worker")}
    assert of == {"gateway": "likeness-gateway-tls", "worker": "likeness-gateway-tls"}


def test_ports_of_stages_say_what_they_speak(secured: Rendered) -> None:
    for stage in STAGES:
        ((_, container),) = secured.running(stage)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        probed = {container[f"{kind}Probe"]["grpc"]["port"] for kind in ("startup", "readiness", "liveness")}
        assert probed == {ports["health"]} != {ports["grpc"]}
        (port,) = secured.one("Service", f"likeness-{stage}")["spec"]["ports"]  # the kubelet needs no Service
        assert (port["targetPort"], port["appProtocol"]) == ("grpc", "https")


def test_switching_it_on_changes_nothing_that_cannot_change(chart: helm.Chart) -> None:
    off = render(chart, {**scenario_values("ha"), "mtls": {"enabled": False}})
    on = render(chart, VALUES["ha"])
    assert on.of_kind("NetworkPolicy") == off.of_kind("NetworkPolicy") != []
    for kind in ("Deployment", "StatefulSet"):
        for workload in off.of_kind(kind):
            assert on.one(kind, workload["metadata"]["name"])["spec"]["selector"] == workload["spec"]["selector"]
    assert off.of_kind("Certificate", "Issuer") == []
    assert not any(_tls_secret(workload, one) for workload in off.workloads for one in containers(workload))
    for stage in STAGES:
        (port,) = off.one("Service", f"likeness-{stage}")["spec"]["ports"]
        assert port["appProtocol"] == "kubernetes.io/h2c"
    assert "get certificates" in on.notes and "get certificates" not in off.notes
