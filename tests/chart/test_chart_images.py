"""The images that the chart asks for are those that docker-bake.hcl builds from the services' Dockerfiles."""

from __future__ import annotations

import re
import tomllib

import helm_python as helm
import pytest

from tests.chart.rendering import CHART, PROGRAMS, ROOT, containers, render

BAKE = (ROOT / "docker-bake.hcl").read_text()


def _dockerfile(program: str) -> list[str]:
    """Its instructions, continued lines joined."""
    text = (ROOT / "services" / program / "Dockerfile").read_text()
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def test_bake_builds_what_the_chart_runs(chart: helm.Chart) -> None:
    built = re.search(r"service = \[([^\]]*)\]", BAKE)
    version = re.search(r'variable "VERSION" \{[^}]*default = "([^"]*)"', BAKE)
    assert built and version and 'tags       = ["${REGISTRY}likeness-${service}:${VERSION}"]' in BAKE
    assert re.findall(r'"(\w+)"', built[1]) == list(PROGRAMS)
    rendered = render(chart, {"image": {"registry": "registry.example.org/media/"}})
    for program in PROGRAMS:
        (container,) = containers(rendered.one("Deployment", f"likeness-{program}"))
        assert container["image"] == f"registry.example.org/media/likeness-{program}:{version[1]}"


def test_versions_agree(chart: helm.Chart) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart.metadata["appVersion"] == project["version"]
    assert f'default = "{project["version"]}"' in BAKE


@pytest.mark.parametrize("program", PROGRAMS)
def test_dockerfile_suits_the_pod(program: str) -> None:
    """Not root, files that exist and reach the build, and a start that is this service."""
    instructions = _dockerfile(program)
    users = [line.split()[1] for line in instructions if line.startswith("USER ")]
    assert users and users[-1].partition(":")[0].isdigit() and users[-1].partition(":")[0] != "0"  # runAsNonRoot
    assert f"services.{program}" in [line for line in instructions if line.startswith(("ENTRYPOINT", "CMD"))][0]
    ignored = {line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for line in instructions:
        keyword, *arguments = line.split()
        if keyword == "COPY" and not any(argument.startswith("--from") for argument in arguments):
            *sources, _ = [argument for argument in arguments if not argument.startswith("--")]
            for source in sources:
                assert list(ROOT.glob(source.removeprefix("./").rstrip("/"))), f"{source} does not exist"
                assert source.removeprefix("./").partition("/")[0] not in ignored, f"{source} is in .dockerignore"


def test_chart_is_packed_without_its_scenarios(chart: helm.Chart) -> None:
    assert (CHART / "ci").is_dir()
    assert not [file["name"] for file in chart.files if file["name"].startswith("ci/")]
