"""What `likeness doctor` looks at: each check says what it found and, where something is wrong, what to do."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import httpx

from likeness._cli.microphone import SoundDeviceError, input_device_name
from likeness._cli.models import check_models
from likeness._stack import DEFAULT_HTTP_PORT, find_running, port_is_free, stack_memory

Status = Literal["ok", "note", "fault"]
LOWEST_PYTHON: Final = (3, 11)
LOW_DISK_BYTES: Final = 1_000_000_000
LOW_MEMORY_BYTES: Final = 2_500_000_000

# Modules that tell whether an extra of pyproject.toml is installed.
EXTRAS: Final = {
    "cpu": (
        "ai_edge_litert",
        "alembic",
        "apiflask",
        "av",
        "cv2",
        "dbos",
        "dlib",
        "flask",
        "flask_cors",
        "flask_limiter",
        "flask_sock",
        "gunicorn",
        "joserfc",
        "minio",
        "numba",
        "onnxruntime",
        "psutil",
        "safetensors",
        "scipy",
        "sqlalchemy",
        "standardwebhooks",
    ),
    "demo": ("matplotlib",),
    "record": ("sounddevice",),
    "train": ("inflect", "torch"),
    "test": ("pytest", "hypothesis", "mypy", "openai", "pocketsphinx", "schemathesis"),
}
# Two distributions with the same modules overwrite each other's files.
NEVER_TOGETHER: Final = (
    ("opencv-python", "opencv-python-headless"),
    ("onnxruntime", "onnxruntime-gpu"),
    ("dlib", "dlib-bin"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: `fault` keeps Likeness from working, `note` only from some of it."""

    what: str
    status: Status
    detail: str
    advice: str = ""


def find_all(data_dir: Path, url: str) -> Iterator[Finding]:
    """Every check, one after the other."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _extras,
        _conflicts,
        _models,
        lambda: _disk(data_dir),
        _memory,
        _microphone,
        lambda: _servers(data_dir, url),
    )
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < LOWEST_PYTHON:
        yield Finding("Python", "fault", found, "install Python 3.11 or newer, then: make setup PYTHON=python3.11")
    else:
        yield Finding("Python", "ok", found)


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if not missing:
            yield Finding(f"extra {extra}", "ok", "installed")
        else:
            status: Status = "fault" if extra == "cpu" else "note"
            yield Finding(
                f"extra {extra}",
                status,
                f"missing: {', '.join(missing)}",
                f"pip install 'likeness[{extra}]', or make setup",
            )


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _conflicts() -> Iterator[Finding]:
    for pair in NEVER_TOGETHER:
        if all(_installed(name) for name in pair):
            yield Finding(
                "packages",
                "fault",
                f"{pair[0]} and {pair[1]} break each other",
                f"pip uninstall {' '.join(pair)}, then install one of them again",
            )


def _models() -> Iterator[Finding]:
    try:
        states = check_models(None, verify=True)
    except Exception as error:  # noqa: BLE001 - whatever stops the check is the finding
        yield Finding("models", "fault", str(error), "make setup")
        return
    faults = [state.fault for state in states if state.fault]
    for fault in faults:
        yield Finding("models", "fault", fault, "make setup")
    if not states:
        yield Finding("models", "fault", "the manifest names no model", "make setup")
    elif not faults:
        yield Finding("models", "ok", f"{len(states)} models have the SHA-256 of the manifest")


def _disk(data_dir: Path) -> Iterator[Finding]:
    folder = next(path for path in (data_dir.resolve(), *data_dir.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free for {data_dir}"
    if free < LOW_DISK_BYTES:
        yield Finding("disk", "fault", found, "free some space, or give another --data-dir")
    else:
        yield Finding("disk", "ok", found)


def _memory() -> Iterator[Finding]:
    import psutil

    available = psutil.virtual_memory().available
    found = f"{available / 1e9:.1f} GB available"
    if available < LOW_MEMORY_BYTES:
        yield Finding("memory", "note", found, "the whole stack may need 2.5 GB; close something if it fails to start")
    else:
        yield Finding("memory", "ok", found)


def _microphone() -> Iterator[Finding]:
    try:
        yield Finding("microphone", "ok", input_device_name())
    except SoundDeviceError as error:
        yield Finding("microphone", "note", "cannot record here", str(error))


def _servers(data_dir: Path, url: str) -> Iterator[Finding]:
    running = find_running(data_dir)
    if running is not None:
        for name, ready in running.ready().items():
            address = running.servers[name].address
            if ready:
                yield Finding(name, "ok", f"ready on {address}")
            else:
                yield Finding(name, "fault", f"does not answer on {address}", f"see {data_dir / 'logs' / name}.log")
        size = sum(item.size_bytes for item in stack_memory({"stack": running.pid}))
        yield Finding("stack memory", "ok", f"{size / 1e6:.0f} MB, all processes together")
        return
    try:
        answer = httpx.get(f"{url}/readyz", timeout=2.0)
    except (httpx.HTTPError, httpx.InvalidURL):
        yield Finding("stack", "note", f"nothing runs at {url}", "likeness up")
        if not port_is_free(DEFAULT_HTTP_PORT):
            yield Finding("port", "note", f"{DEFAULT_HTTP_PORT} is taken", "likeness up --port 8080")
        return
    if answer.is_success:
        yield Finding("stack", "ok", f"{url} is ready")
    else:
        yield Finding(
            "stack", "fault", f"{url}/readyz answers {answer.status_code}: {answer.text[:200]}", "see its logs"
        )
