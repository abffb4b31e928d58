"""Writes requirements/tested.txt: the versions of this environment, by which images are built.

Of every package that some image needs, directly or not. Run it after `make test` has passed with newer versions.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TESTED = ROOT / "requirements" / "tested.txt"
sys.path.insert(0, str(ROOT / "requirements"))

from pick import pick  # noqa: E402


def closure(requirements: list[str]) -> dict[str, str]:
    """Version of every distribution that these requirements bring, by normalised name, in this environment.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        name = _normalised(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = metadata.version(name)
            for line in metadata.requires(name) or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
    return found


def packages_of(dockerfile: Path) -> list[str]:
    """What the file's ARG PACKAGES names."""
    (line,) = re.findall(r'^ARG PACKAGES="([^"]*)"', dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    return str(line).split()


def image_requirements(service: str) -> list[str]:
    """Of the CPU image, and of the stage in which the encoder's weights are exported."""
    exporting = ["onnx"] if service == "encoder" else []
    return pick(ROOT / "pyproject.toml", "cpu", [*packages_of(ROOT / "services" / service / "Dockerfile"), *exporting])


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    services = sorted(path.parent.name for path in ROOT.glob("services/*/Dockerfile"))
    pins = {name: version for service in services for name, version in closure(image_requirements(service)).items()}
    lines = [f"{name}=={version}" for name, version in sorted(pins.items())]
    TESTED.write_text("# Made by scripts/pin.py; images are built with these versions.\n" + "\n".join(lines) + "\n")
    print(f"{TESTED.relative_to(ROOT)}: {len(lines)} packages")


if __name__ == "__main__":
    main()
