"""compose.yaml runs the images that are built, with settings that exist and services that are there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from services.gateway.accounts.secrets import read_key
from tests.chart.dockerfile import read_stages
from tests.chart.rendering import PROGRAMS, ROOT, STAGES, settings_class

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("name", [*PROGRAMS, "worker"])
def test_service_is_a_program_with_its_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES[name]
    program = "gateway" if name == "worker" else name
    assert service["build"]["dockerfile"] == f"services/{program}/Dockerfile"
    assert service["image"] == f"likeness-{program}:0.1.0"
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    environment = dict(service["environment"])
    if "LIKENESS_BOOTSTRAP_KEY" in environment:
        environment["LIKENESS_BOOTSTRAP_KEY"] = "lk_0123456789ab_" + "0" * 48
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = settings_class(program)()
    ours = {key.removeprefix("LIKENESS_").lower() for key in environment if key.startswith("LIKENESS_")}
    assert ours <= set(type(settings).model_fields)
    assert settings.store_url == f"s3://{'store'}:9000" and "store" in SERVICES


@pytest.mark.parametrize("name", [*PROGRAMS, "worker"])
def test_the_data_folder_can_be_written(name: str) -> None:
    """Root is read-only; stages that use the object store keep copies of its files."""
    service = SERVICES[name]
    image = " ".join(one.argument for one in read_stages(name.replace("worker", "gateway"))[-1].of("ENV"))
    preset = re.search(r"LIKENESS_DATA_DIR=(\S+)", image)
    folder = service["environment"].get("LIKENESS_DATA_DIR", preset and preset[1])
    writable = [entry.partition(":")[0] for entry in service["tmpfs"]]
    assert any(folder == one or folder.startswith(f"{one}/") for one in writable)


def test_the_gateway_finds_every_stage_at_its_port() -> None:
    for caller in ("gateway", "worker"):
        for stage in STAGES:
            target = SERVICES[caller]["environment"][f"LIKENESS_{stage.upper()}_TARGET"]
            (exposed,) = read_stages(stage)[-1].of("EXPOSE")
            assert target == f"dns:///{stage}:{exposed.words[0]}"


def test_only_the_gateway_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8000:8000"]}


def test_the_key_of_the_instructions_is_one() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert "lk_$(openssl rand -hex 6)_$(openssl rand -hex 24)" in text
    assert read_key("lk_" + "a" * 12 + "_" + "b" * 48)
    assert re.search(r"LIKENESS_BOOTSTRAP_KEY: \$\{LIKENESS_API_KEY:\?", text)
