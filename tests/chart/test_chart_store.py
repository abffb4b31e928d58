"""How clients reach the object store, and how what is written there is encrypted."""

from __future__ import annotations

import helm_python as helm
import pytest

from services.common.settings import CommonSettings
from tests.chart.rendering import plain_environment, pod_spec, render


def store_settings(chart: helm.Chart, store: dict[str, str]) -> dict[str, str]:
    containers = pod_spec(render(chart, {"store": store}).one("Deployment", "likeness-gateway"))["containers"]
    container = next(item for item in containers if item["name"] == "gateway")
    return {name: value for name, value in plain_environment(container).items() if name.startswith("LIKENESS_STORE_")}


def test_files_go_through_the_gateway_unless_clients_reach_the_store(
    chart: helm.Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address inside of the cluster is of no use to them."""
    found = store_settings(chart, {})
    assert found["LIKENESS_STORE_PRESIGN"] == "false" and "LIKENESS_STORE_PUBLIC_URL" not in found
    found = store_settings(chart, {"publicUrl": "https://s3.example.org", "encryption": "kms", "kmsKeyId": "key-1"})
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    settings = CommonSettings()
    assert (settings.store_presign, settings.store_public_url) == (True, "https://s3.example.org")
    assert (settings.store_encryption, settings.store_kms_key_id) == ("kms", "key-1")


@pytest.mark.parametrize(
    "store", [{"publicUrl": "s3.example.org"}, {"publicUrl": "https://a.example/x"}, {"encryption": "aes"}]
)
def test_addresses_and_encryptions_are_checked(chart: helm.Chart, store: dict[str, str]) -> None:
    with pytest.raises(helm.HelmError, match="store"):
        render(chart, {"store": store})
