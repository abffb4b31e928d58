"""`likeness models list|verify`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from likeness._cli.options import Json
from likeness._cli.output import complain, print_json, print_table, say, working

app = typer.Typer(help="The weights on this machine.", no_args_is_help=True)
ModelsDir = Annotated[
    Path | None,
    typer.Option("--models-dir", envvar="LIKENESS_MODELS_DIR", help="Folder with manifest.json.", show_default=False),
]


@dataclasses.dataclass(frozen=True)
class ModelState:
    """A model of the manifest and what is wrong with its file, if anything."""

    name: str
    format: str
    license: str
    source: str
    size_bytes: int | None
    fault: str | None = None


def check_models(models_dir: Path | None, *, verify: bool) -> list[ModelState]:
    """Every model of the manifest; with `verify` each file is hashed and compared."""
    from services.common.errors import LikenessError
    from services.common.models import Registry
    from services.common.settings import CommonSettings

    registry = Registry(models_dir or CommonSettings().models_dir)
    states = []
    for name in registry.names():
        entry = registry.entry(name)
        fault = None
        if verify:
            try:
                registry.path(name)
            except LikenessError as error:
                fault = error.detail
        states.append(ModelState(name, entry.format, entry.license, entry.source, entry.size_bytes, fault))
    return states


@app.command("list")
def list_(models_dir: ModelsDir = None, as_json: Json = False) -> None:
    """List what the manifest names, with licence and origin."""
    found = _checked(models_dir, verify=False)
    if as_json:
        print_json([dataclasses.asdict(state) for state in found])
        return
    print_table(
        "Models",
        ("name", "format", "size", "licence", "source"),
        [(state.name, state.format, _size(state.size_bytes), state.license, state.source) for state in found],
        empty="The manifest names no model; `make setup` prepares them.",
    )


@app.command("verify")
def verify(models_dir: ModelsDir = None) -> None:
    """Compare every file's SHA-256 with the manifest's. Exit code 1 when one differs."""
    with working("Verifying models"):
        found = _checked(models_dir, verify=True)
    for state in found:
        say(f"{'wrong' if state.fault else 'ok':6}{state.name}")
    faults = [state.fault for state in found if state.fault]
    for fault in faults:
        complain(fault)
    if faults or not found:
        if not found:
            complain("The manifest names no model; `make setup` prepares them.")
        raise typer.Exit(1)


def _checked(models_dir: Path | None, *, verify: bool) -> list[ModelState]:
    from services.common.errors import LikenessError

    try:
        return check_models(models_dir, verify=verify)
    except LikenessError as error:
        complain(error.detail)
        raise typer.Exit(1) from error


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
