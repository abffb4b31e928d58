"""Carries out the Dockerfiles without an engine, and starts what comes of it: `make images-check`.

Every stage of a Dockerfile gets a folder that stands for its root; a virtual environment in it has only what the file
installs, and /app only what it copies. Left out: users and owners, and the name of the base image. What was built is
kept under .cache/images for as long as the instructions that led to it stay the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likeness._stack import free_ports
from services.common.keys import make_keys
from tests.chart.dockerfile import Instruction, Stage, copy_into, read_stages
from tests.chart.rendering import PROGRAMS, ROOT, STAGES

CACHE = ROOT / ".cache" / "images"
KEPT_ROOTS = ("/opt/venv", "/src", "/app", "/data", "/tmp")  # noqa: S108 - folders of an image
START_TIMEOUT_S = 240.0
# Of the whole environment, with what pip itself needs, in MB; see MAX_MB in test_chart_images.py.
PIP_MB = 40


class Image:
    """One program's image as folders: `build` carries out its Dockerfile, `run` a command of it."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.stages = read_stages(program)
        self._environments: dict[str, dict[str, str]] = {}

    @property
    def root(self) -> Path:
        return self.folder / self.stages[-1].name

    @property
    def environment(self) -> dict[str, str]:
        """Of the last stage, with folders where they really are."""
        return self._environments[self.stages[-1].name]

    def build(self) -> None:
        for stage in self.stages:
            self._build(stage)

    def mapped(self, text: str, root: Path) -> str:
        """Absolute paths of the image as paths of this machine."""
        for kept in KEPT_ROOTS:
            text = re.sub(rf"(?<![\w./-]){re.escape(kept)}(?![\w.-])", str(root / kept[1:]), text)
        return text

    def command(self, argument: str) -> list[str]:
        """Of ENTRYPOINT or HEALTHCHECK CMD, in its JSON form."""
        words = re.findall(r'"([^"]*)"', argument)
        return [str(self.root / "opt/venv/bin/python") if word == "python" else word for word in words]

    def _build(self, stage: Stage) -> None:
        root = self.folder / stage.name
        base = next((one for one in self.stages if one.name == stage.base), None)
        environment = dict(self._environments[base.name]) if base else {"PATH": os.environ["PATH"], "HOME": str(root)}
        folder = root
        if base and not root.exists():
            shutil.copytree(self.folder / base.name, root, symlinks=True, copy_function=os.link)
            environment = {
                key: value.replace(str(self.folder / base.name), str(root)) for key, value in environment.items()
            }
            folder = root / "src"
        for kept in KEPT_ROOTS:
            (root / kept[1:]).parent.mkdir(parents=True, exist_ok=True)
        for instruction in stage.instructions:
            if instruction.keyword == "WORKDIR":
                folder = root / instruction.argument.removeprefix("/")
                folder.mkdir(parents=True, exist_ok=True)
            elif instruction.keyword in ("ARG", "ENV"):
                environment |= self._variables(instruction, environment, root)
            elif instruction.keyword == "COPY":
                self._copy(instruction, folder, root)
            elif instruction.keyword == "RUN":
                self._run(instruction, folder, root, environment)
        self._environments[stage.name] = environment

    def _variables(self, instruction: Instruction, environment: dict[str, str], root: Path) -> dict[str, str]:
        pairs = [word.partition("=") for word in instruction.words]
        expanded = {
            name: re.sub(r"\$\{?(\w+)\}?", lambda found: environment.get(found[1], ""), value)
            for name, _, value in pairs
        }
        # PATH begins with the image's folder; what follows it is this machine's and stays.
        return {
            name: value if name == "PACKAGES" else self.mapped(value, root).replace("/usr/local/bin:", "")
            for name, value in expanded.items()
        }

    def _copy(self, instruction: Instruction, folder: Path, root: Path) -> None:
        sources, target = instruction.copied
        into = root / target[1:] if target.startswith("/") else folder / target
        if instruction.copied_from is None:
            copy_into(sources, target, ROOT, folder)
            return
        origin = self.folder / instruction.copied_from
        for source in sources:
            shutil.copytree(origin / source[1:], into, symlinks=True, dirs_exist_ok=True, copy_function=_link)

    def _run(self, instruction: Instruction, folder: Path, root: Path, environment: dict[str, str]) -> None:
        text = re.sub(r"\buseradd [^&]*&& ", "", instruction.argument)
        text = re.sub(r" && chown .*$", "", text)
        text = re.sub(r"^python -m venv", f"{sys.executable} -m venv", text)
        text = re.sub(r"\bpip install", "python -m pip install --quiet --no-compile", text)
        environment = {**environment, "PIP_NO_CACHE_DIR": "0", "PIP_CACHE_DIR": str(CACHE / "pip")}
        done = subprocess.run(
            ["sh", "-ec", self.mapped(text, root)], cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise AssertionError(f"RUN {instruction.argument}\n{done.stdout[-1000:]}{done.stderr[-3000:]}")


def _link(source: str, target: str) -> str:
    """A file that is there already is replaced, as COPY does."""
    Path(target).unlink(missing_ok=True)
    os.link(source, target)
    return target


def _hash(program: str) -> str:
    """Of everything that decides what is in the image."""
    digest = hashlib.sha256(sys.version.encode())
    names = [f"services/{program}", "services/common", "likeness", "requirements", f"models/{program}"]
    files = [ROOT / "pyproject.toml", ROOT / "models/manifest.json", ROOT / "services/__init__.py"]
    for name in names:
        files += [
            path for path in sorted((ROOT / name).rglob("*")) if path.is_file() and "__pycache__" not in path.parts
        ]
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="module", params=PROGRAMS)
def image(request: pytest.FixtureRequest) -> Image:
    """Built once for each state of the files."""
    program = str(request.param)
    folder = CACHE / f"{program}-{_hash(program)}"
    found = Image(program, folder)
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for old in CACHE.glob(f"{program}-*"):
            shutil.rmtree(old)
    found.build() if not folder.exists() else _recall(found)
    (folder / "complete").touch()
    return found


def _recall(image: Image) -> None:
    """The variables of an image that was built before."""
    for stage in image.stages:
        root = image.folder / stage.name
        base = image._environments.get(stage.base, {"PATH": os.environ["PATH"], "HOME": str(root)})
        environment = dict(base)
        for instruction in stage.instructions:
            if instruction.keyword in ("ARG", "ENV"):
                environment |= image._variables(instruction, environment, root)
        image._environments[stage.name] = environment


def _start(image: Image, module: str, **variables: str) -> subprocess.Popen[bytes]:
    environment = {**image.environment, "HOME": str(image.folder), "TMPDIR": str(image.folder), **variables}
    environment["NUMBA_CACHE_DIR"] = str(image.folder / "numba")
    python = image.root / "opt/venv/bin/python"
    log = (image.folder / f"{module}.log").open("wb")
    return subprocess.Popen([python, "-m", module], cwd=image.root / "app", env=environment, stderr=log, stdout=log)


def _healthy(image: Image, port: str, process: subprocess.Popen[bytes], module: str) -> None:
    """Waits until the image's own health check says yes."""
    (check,) = image.stages[-1].of("HEALTHCHECK")
    command = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", check.argument.partition("CMD ")[2])
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        asked = subprocess.run(
            image.command(command), cwd=image.root / "app", env=image.environment, capture_output=True
        )
        if asked.returncode == 0:
            return
        time.sleep(0.5)
    raise AssertionError((image.folder / f"{module}.log").read_text()[-3000:])


def test_the_environment_holds_no_more_than_it_should(image: Image) -> None:
    from tests.chart.test_chart_images import MAX_MB

    site = next((image.root / "opt/venv/lib").glob("python3.*/site-packages"))
    size_mb = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc") / 1e6
    weights_mb = {"synthesizer": 20, "faceswap": 130}.get(image.program, 0)  # of packages that are read, not imported
    print(f"{image.program}: {size_mb:.0f} MB installed")
    assert size_mb <= MAX_MB[image.program] + PIP_MB + weights_mb
    barred = {"torch", "tensorflow", "scipy"} - ({"scipy"} if image.program == "gateway" else set())
    assert not [name for name in sorted(barred) if (site / name).exists()]


def test_the_program_starts_and_its_health_check_agrees(image: Image, tmp_path: Path) -> None:
    """As its ENTRYPOINT says, in an environment of its own, until SIGTERM ends it."""
    module = f"services.{image.program}"
    assert f'"{module}"' in image.stages[-1].of("ENTRYPOINT")[0].argument
    port, metrics = (str(number) for number in free_ports(2))
    make_keys(tmp_path / "keys")
    variables = {"LIKENESS_DATA_DIR": str(tmp_path), "LIKENESS_HOST": "127.0.0.1", "LIKENESS_METRICS_PORT": metrics}
    variables |= {"LIKENESS_KEYS_DIR": str(tmp_path / "keys")}
    variables |= {"LIKENESS_PORT": port, "LIKENESS_HTTP_PORT": port, "LIKENESS_DRAIN_WAIT_S": "0"}
    process = _start(image, module, **variables)
    try:
        _healthy(image, port, process, module)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    assert code == 0 if image.program in STAGES else code in (0, -signal.SIGTERM)


@pytest.mark.parametrize("image", ["gateway"], indirect=True)
def test_the_image_of_the_gateway_serves_as_worker_and_migration(image: Image, tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    variables = {"LIKENESS_DATA_DIR": str(tmp_path), "LIKENESS_METRICS_PORT": "0", "LIKENESS_LOG_FORMAT": "text"}
    variables |= {"LIKENESS_KEYS_DIR": str(tmp_path / "keys")}
    assert _start(image, "services.gateway.migrate", **variables).wait(timeout=60) == 0
    worker = _start(image, "services.gateway.worker", **variables)
    log = image.folder / "services.gateway.worker.log"
    deadline = time.monotonic() + 60
    while b"ready, metrics" not in log.read_bytes() and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    worker.terminate()
    assert worker.wait(timeout=30) == 0, log.read_text()[-2000:]
