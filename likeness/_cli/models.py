"""`likeness models list|verify|add`."""

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
    kind: str | None = None


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
        states.append(ModelState(name, entry.format, entry.license, entry.source, entry.size_bytes, fault, entry.kind))
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
        ("name", "kind", "format", "size", "licence", "source"),
        [(s.name, s.kind or "", s.format, _size(s.size_bytes), s.license, s.source) for s in found],
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


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Name to use it by, such as in `likeness swap --engine NAME`.")],
    file: Annotated[Path, typer.Argument(help="The ONNX file.", exists=True, dir_okay=False)],
    kind: Annotated[str, typer.Option("--kind", help="face-swapper, face-embedder, face-enhancer or face-person.")],
    license_: Annotated[str, typer.Option("--license", help="SPDX identifier or name of the licence.")],
    source: Annotated[str, typer.Option("--source", help="Where the file comes from.")],
    license_text: Annotated[
        Path | None, typer.Option("--license-text", help="File with the licence's text.", exists=True, dir_okay=False)
    ] = None,
    data: Annotated[str, typer.Option("--data", help="What it was trained on.")] = "not known",
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="Such as embedder=arcface.")
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the licence without being asked, for scripts.")
    ] = False,
    models_dir: ModelsDir = None,
) -> None:
    """Register a face network of your own. Its licence is shown and must be accepted, once."""
    from services.common.errors import LikenessError
    from services.common.settings import CommonSettings
    from services.faceswap.register import Offer, accepted_before, check, register, terms

    folder = models_dir or CommonSettings().models_dir
    pairs = [pair.partition("=") for pair in parameter or []]
    for key, equals, _ in pairs:
        if not equals:
            raise typer.BadParameter(f"{key!r} is not of the form NAME=VALUE", param_hint="--parameter")
    offer = Offer(name, file, kind, license_, source, data, license_text, {key: value for key, _, value in pairs})
    try:
        with working("Checking the network"):
            check(folder, offer)
        text = terms(offer)
        accepted = accepted_before(folder, offer)
        if not accepted:
            complain(text, style="")
            accepted = accept_license or _asked("Do you accept this licence?")
        entry = register(folder, offer, accepted=accepted)
    except LikenessError as error:
        complain(error.detail)
        raise typer.Exit(1) from error
    say(f"{entry.name}: {entry.sha256} ({entry.size_bytes} bytes)")


def _asked(question: str) -> bool:
    """What the operator answers; no where nobody is there to answer."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


def _checked(models_dir: Path | None, *, verify: bool) -> list[ModelState]:
    from services.common.errors import LikenessError

    try:
        return check_models(models_dir, verify=verify)
    except LikenessError as error:
        complain(error.detail)
        raise typer.Exit(1) from error


def _size(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
