"""What a program imports, read from its source: modules of Likeness, and top-level packages of others.

Imports within functions count as well; those for type checkers only do not.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.chart.rendering import ROOT

OURS = ("services", "likeness")


@dataclass
class ImportGraph:
    """Modules of ours by name, and for each foreign package the modules that import it."""

    modules: dict[str, Path] = field(default_factory=dict)
    foreign: dict[str, set[str]] = field(default_factory=dict)


def imported_by(roots: Iterable[str]) -> ImportGraph:
    """Everything that the modules reach."""
    graph = ImportGraph()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if name in graph.modules or path is None:
            continue
        graph.modules[name] = path
        waiting += _parents(name)
        for imported in _names_in(path):
            top = imported.partition(".")[0]
            if top in OURS:
                waiting.append(imported)
            elif top not in sys.stdlib_module_names:
                graph.foreign.setdefault(top, set()).add(name)
    return graph


def closure(requirements: Iterable[str]) -> set[str]:
    """Names of the distributions that these requirements bring along, as they are installed here."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            key = (normalised(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            needed = (Requirement(line) for line in metadata.requires(requirement.name) or ())
            waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


@cache
def providers() -> dict[str, frozenset[str]]:
    """Distributions by the top-level module that they install; read from their files, as not all name their modules."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        name = normalised(distribution.name)
        for path, _ in _records(distribution):
            top = path.partition("/")[0].partition(".")[0]
            if path.endswith((".py", ".so", ".pyd")) and top.isidentifier() and top not in OURS:
                found.setdefault(top, set()).add(name)
    return {module: frozenset(names) for module, names in found.items()}


def installed_bytes(distributions: Iterable[str]) -> int:
    """Size of their files, without compiled Python, as their installation noted it."""
    return sum(size for name in distributions for _, size in _records(metadata.distribution(name)))


def _records(distribution: metadata.Distribution) -> Iterator[tuple[str, int]]:
    """Path and bytes of each installed file."""
    for path, *_, size in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if not path.endswith(".pyc"):
            yield path, int(size or 0)


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@cache
def _names_in(path: Path) -> frozenset[str]:
    return frozenset(_walk(ast.parse(path.read_text(encoding="utf-8"))))


def _walk(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child)
