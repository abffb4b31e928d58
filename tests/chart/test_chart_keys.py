"""The keys that the chart makes are ones that the programs take, and each pod sees only those that it needs."""

from __future__ import annotations

import base64
from pathlib import Path

import helm_python as helm
import pytest

from services.common.keys import MARK, TRUSTED, load_keys, load_secret, load_trusted
from tests.chart.rendering import STAGES, Document, Rendered, plain_environment, pod_spec, render

MARKING = {"vocoder", "faceswap"}


def _lay_down(rendered: Rendered, program: str, folder: Path) -> Path:
    """The keys folder of a pod, filled by its volume as the kubelet does it."""
    workload, container = rendered.running(program)[0]
    (mount,) = (
        one
        for one in container["volumeMounts"]
        if one["mountPath"] == plain_environment(container)["LIKENESS_KEYS_DIR"]
    )
    assert mount["readOnly"] is True
    (volume,) = (one["secret"] for one in pod_spec(workload)["volumes"] if one["name"] == mount["name"])
    data: Document = rendered.one("Secret", volume["secretName"])["data"]
    for item in volume.get("items", [{"key": key, "path": key} for key in data]):
        path = folder / program / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data[item["key"]]))
    return folder / program


@pytest.fixture(scope="module")
def made(chart: helm.Chart) -> Rendered:
    return render(chart, {})


def test_gateway_and_worker_load_what_was_made(made: Rendered, tmp_path: Path) -> None:
    keys = load_keys(_lay_down(made, "gateway", tmp_path))
    assert keys.mark != keys.templates and keys.grant.private_bytes_raw() != keys.receipts.private_bytes_raw()
    assert load_keys(_lay_down(made, "worker", tmp_path)).mark == keys.mark
    assert b"BEGIN CERTIFICATE" in keys.c2pa


@pytest.mark.parametrize("stage", STAGES)
def test_stages_trust_the_gateway_and_hold_no_key_that_signs(made: Rendered, stage: str, tmp_path: Path) -> None:
    gateway = load_keys(_lay_down(made, "gateway", tmp_path))
    folder = _lay_down(made, stage, tmp_path)
    (trusted,) = load_trusted(folder / TRUSTED)
    trusted.verify(gateway.grant.sign(b"grant"), b"grant")
    held = {path.name for path in folder.rglob("*") if path.is_file()}
    assert held == {"0.pem"} | ({MARK} if stage in MARKING else set())
    if stage in MARKING:
        assert load_secret(folder / MARK) == gateway.mark


def test_two_gateways_keys_are_taken_while_one_replaces_the_other(chart: helm.Chart) -> None:
    values = {"keys": {"existingSecret": "mine", "trusted": ["old.pem", "new.pem"]}}
    rendered = render(chart, values)
    assert "likeness-keys" not in {one["metadata"]["name"] for one in rendered.of_kind("Secret")}
    ((workload, _),) = rendered.running("encoder")
    (volume,) = (one["secret"] for one in pod_spec(workload)["volumes"] if one["name"] == "keys")
    assert volume["secretName"] == "mine"
    assert [(item["key"], item["path"]) for item in volume["items"]] == [
        ("old.pem", "grants/0.pem"),
        ("new.pem", "grants/1.pem"),
    ]
