"""Documents are valid for the newest Kubernetes minors; values that cannot work are refused with a clear word."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

import helm_python as helm
import pytest
from kubernetes_validate import ValidationError, utils, validate  # type: ignore[import-untyped]
from packaging.version import Version

from services.common.settings import CommonSettings
from services.faceswap.neural_session import PROVIDERS
from services.faceswap.settings import FaceSwapSettings
from tests.chart.custom_resources import CUSTOM, check_custom
from tests.chart.rendering import (
    CHART,
    PROGRAMS,
    SCENARIOS,
    STAGES,
    Rendered,
    plain_environment,
    pod_spec,
    render,
    scenario_values,
    settings_class,
)

SCALED_WORKERS = "database.mode=bundled,worker.autoscaling.enabled=true"
OLDEST = re.findall(r'^kubeVersion: ">=(\d+\.\d+)', (CHART / "Chart.yaml").read_text(), re.MULTILINE)
NEWEST = sorted({utils.major_minor(version) for version in utils.all_versions()}, key=Version)[-3:]
MINORS = OLDEST + NEWEST


@pytest.fixture(scope="module", autouse=True)
def schemas_read_once() -> Iterator[None]:
    """The library reads its definitions from disk for every document."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_lints_without_warning(scenario: str) -> None:
    report = helm.lint(CHART, scenario_values(scenario), strict=True, kube_version=f"v{MINORS[-1]}.0")
    assert report["total_charts_linted"] == 1
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize("minor", MINORS)
def test_documents_are_valid(rendered: Rendered, minor: str) -> None:
    assert len(MINORS) == 4
    assert len(rendered.documents) > 10
    for document in rendered.documents:
        if document["kind"] in CUSTOM:
            check_custom(document)
        else:
            assert validate(document, minor, strict=True) == minor


def test_validation_notices_a_misspelt_field(chart: helm.Chart) -> None:
    document = render(chart, {}).one("Deployment", "likeness-vocoder")
    document["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(ValidationError, match="redinessProbe"):
        validate(document, MINORS[-1], strict=True)


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("gateway.replica=2", "replica"),
        ("stages.vocode.replicas=2", "vocode"),
        ("stages.vocoder.replica=2", "replica"),
        ("stages.vocoder.settings.max_concurency=2", "max_concurency"),
        ("stages.vocoder.settings.max_concurrency=0", "max_concurrency"),
        ("stages.faceswap.settings.providers={CUDAExecutionProvider}", "providers"),
        ("stageDefaults.settings.port=1", "port"),
        ("gateway.settings.host=0.0.0.0", "host"),
        ("gateway.settings.log_level=loud", "log_level"),
        ("stageDefaults.resources.request.cpu=1", "request"),
        ("stageDefaults.resources.requests.cpu=lots", "cpu"),
        ("stageDefaults.autoscalling.enabled=true", "autoscalling"),
        ("image.tag=latest", "tag"),
        ("image.registry=https://registry.example.org/", "registry"),
        ("stages.faceswap.gpu=1", "gpu"),
        ("stageDefaults.podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("stageDefaults.modelCache.size=1Gi", "size"),
        ("gateway.ingress.hosts[0]=likeness.example.org", "hosts"),
        ("gateway.settings=null", "settings"),
        ("keys.trusted=null", "trusted"),
        ("stages.encoder.image.digest=sha256:12", "digest"),
        ("podUser.runAsUser=0", "runAsUser"),
        ("store.mode=folder", "mode"),
        ("store.external.url=https://s3.example.org", "url"),
        ("networkPolicy.enable=true", "enable"),
        ("database.mode=mysql", "mode"),
        ("worker.autoscaling.signal=queue", "signal"),
        ("worker.settings.workerjobs=2", "workerjobs"),
        ("stages.faceswap.gpu.count=-1", "count"),
        ("tracing.endpoint=collector:4318", "endpoint"),
        ("tracing.share=2", "share"),
        ("gateway.httpRoute.parentRefs[0].namespace=a", "name"),
        ("gateway.apikey.key=a", "apikey"),
        ("monitoring.podMonitor.interval=often", "interval"),
        ("mtls.enable=true", "enable"),
        ("mtls.duration=90d", "duration"),
        ("mtls.issuerRef.kind=ClusterIssuer", "name"),
        ("stageDefaults.settings.health_port=1", "health_port"),
        ("gateway.settings.tls_dir=/tls", "tls_dir"),
    ],
)
def test_schema_refuses(chart: helm.Chart, expression: str, named: str) -> None:
    with pytest.raises(helm.HelmError, match=named):
        render(chart, helm.parse_set_string(expression))


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("gateway.replicas=2", "database.mode"),
        ("gateway.autoscaling.enabled=true", "database.mode"),
        ("worker.replicas=2", "database.mode"),
        ("worker.autoscaling.enabled=true", "database.mode"),
        ("database.mode=external", "database.external.existingSecret"),
        ("database.external.existingSecret=mine", "database.mode to external"),
        ("gateway.ingress.enabled=true", "gateway.ingress.host"),
        ("gateway.httpRoute.enabled=true", "gateway.httpRoute.parentRefs"),
        ("gateway.allowUnauthenticated=true,gateway.settings.auth=keys", "contradicts"),
        ("redis.existingSecret=a,gateway.settings.rate_limit_storage=redis://b", "not both"),
        ("stages.vocoder.gpu.count=1", "computes on the CPU"),
        ("stages.vocoder.autoscaling.enabled=true,stages.vocoder.autoscaling.signal=database", "workers"),
        ("stages.vocoder.autoscaling.minReplicas=9", "minReplicas"),
        ("store.mode=external,store.external.existingSecret=keys", "store.external.url"),
        ("gateway.autoscaling.minReplicas=9", "gateway.autoscaling: minReplicas"),
        ("worker.autoscaling.minReplicas=9", "worker.autoscaling: minReplicas"),
        (f"{SCALED_WORKERS},worker.autoscaling.signal=cpu,worker.autoscaling.minReplicas=0", "minReplicas to 1"),
        (f"{SCALED_WORKERS},worker.autoscaling.signal=prometheus,worker.autoscaling.minReplicas=0", "to database"),
        (SCALED_WORKERS, "networkPolicy.scalersFrom"),
        ("stages.faceswap.gpu.count=1,stages.faceswap.autoscaling.enabled=true", "use pods or prometheus"),
        ("stageDefaults.resources.limits.nvidia\\.com/gpu=1", "gpu.count"),
        ("gateway.settings.oidc_issuer=https://login.example.org", "oidc_audience"),
        ("store.external.url=s3://s3.example.org", "store.mode to external"),
        ("store.encryption=kms", "store.kmsKeyId"),
        ("store.kmsKeyId=key-1", "store.encryption=kms"),
        ("mtls.issuerRef.name=corporate", "mtls.enabled"),
        ("mtls.renewBefore=2160h", "mtls.renewBefore"),
        ("mtls.enabled=true,mtls.duration=8761h", "mtls.issuerRef"),
        ("store.mode=external,store.external.url=s3://s3.example.org", "store.external.existingSecret"),
    ],
)
def test_impossible_combinations_say_what_to_set(chart: helm.Chart, expression: str, advice: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=advice):
        render(chart, helm.parse_set_string(expression))


MANAGED = {
    "data_dir",
    "models_dir",
    "keys_dir",
    "tls_dir",
    "health_port",
    "metrics_host",
    "metrics_port",
    "host",
    "port",
    "http_port",
    "database_url",
}
MANAGED |= {"allow_unauthenticated", "bootstrap_key", "otlp_endpoint", "trace_share"} | {
    f"{stage}_target" for stage in STAGES
}
MANAGED |= {name for name in CommonSettings.model_fields if name.startswith("store_")}


def _settings_in_schema(name: str) -> set[str]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    return set(schema["$defs"][f"{name}Settings"]["properties"])


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_setting_can_be_set_and_nothing_else(program: str) -> None:
    """A new setting goes into `$defs.<program>Settings` of the schema, or into MANAGED when a template sets it."""
    offered = _settings_in_schema(program) | (_settings_in_schema("stage") if program in STAGES else set())
    assert offered == set(settings_class(program).model_fields) - MANAGED


def test_execution_providers_are_the_names_that_the_stage_knows(chart: helm.Chart) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["$defs"]["faceswapSettings"]["properties"]["providers"]["items"]["enum"]
    assert known == list(PROVIDERS)
    rendered = render(chart, {"stages": {"faceswap": {"settings": {"providers": known}}}})
    (container,) = pod_spec(rendered.one("Deployment", "likeness-faceswap"))["containers"]
    set_to = plain_environment(container)["LIKENESS_PROVIDERS"]
    assert FaceSwapSettings(providers=json.loads(set_to)).providers == tuple(known)
