"""A Dockerfile as Python objects: its stages and their instructions, and which files of the repository it copies."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart.rendering import ROOT


@dataclass(frozen=True)
class Instruction:
    """One of them, continued lines joined; `argument` is everything after the keyword."""

    keyword: str
    argument: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.argument)

    @property
    def copied_from(self) -> str | None:
        """Of COPY: the stage from which it copies, None for the repository."""
        return next((word.removeprefix("--from=") for word in self.words if word.startswith("--from=")), None)

    @property
    def copied(self) -> tuple[list[str], str]:
        """Of COPY: sources and target."""
        *sources, target = [word for word in self.words if not word.startswith("--")]
        return sources, target


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, keyword: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.keyword == keyword]


def dockerfile_of(program: str) -> Path:
    return ROOT / "services" / program / "Dockerfile"


def read_instructions(path: Path) -> list[Instruction]:
    lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    parted = [line.strip().partition(" ") for line in joined if line.strip()]
    return [Instruction(keyword.upper(), argument.strip()) for keyword, _, argument in parted]


def read_stages(program: str) -> list[Stage]:
    """In their order; the last one is the image."""
    stages: list[Stage] = []
    for instruction in read_instructions(dockerfile_of(program)):
        if instruction.keyword == "FROM":
            base, _, name = instruction.argument.partition(" AS ")
            stages.append(Stage(base, name or "image"))
        elif stages:
            stages[-1].instructions.append(instruction)
    return stages


def copy_into(sources: list[str], target: str, context: Path, folder: Path) -> None:
    """What COPY does: the contents of a folder, or files, which keep their names when the target ends in a slash."""
    for source in sources:
        at = context / source
        to = folder / target
        if at.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "manifest.local.json", "Dockerfile")
            shutil.copytree(at, to, dirs_exist_ok=True, symlinks=True, ignore=ignored)
        else:
            to = to / at.name if target.endswith("/") or to.is_dir() else to
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(at, to)
