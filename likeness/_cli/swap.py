"""`likeness swap`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Final

import typer

from likeness._cli.options import URL, ApiKey, Json, OutFile, Url, writable
from likeness._cli.output import print_json, say, working
from likeness._client import Client

_FORMAT_OF_SUFFIX: Final = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


class Selection(enum.StrEnum):
    largest = "largest"
    all = "all"


def swap(
    source: Annotated[
        Path, typer.Option(help="Picture of the face to put in.", exists=True, dir_okay=False, show_default=False)
    ],
    target: Annotated[
        Path, typer.Option(help="Picture to put it into.", exists=True, dir_okay=False, show_default=False)
    ],
    out: OutFile,
    consent: Annotated[str, typer.Option(help="Id of the face consent for the source.", show_default=False)],
    selection: Annotated[Selection, typer.Option(help="Which faces of the target.")] = Selection.largest,
    shape_strength: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of the source's shape carried over.", show_default=False),
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Put the face of one picture into another."""
    format = _FORMAT_OF_SUFFIX.get(writable(out).suffix.lower())
    if format is None:
        raise typer.BadParameter(f"cannot tell the format from {out.name!r}; end the name with .png, .jpg or .webp")
    with Client(url, api_key) as client, working("Swapping"):
        face = client.faces.enrol(source, consent=consent)
        try:
            result = client.swap(
                face=face.id, target=target, selection=selection.value, shape_strength=shape_strength, format=format
            )
        finally:
            client.faces.delete(face.id)
    out.write_bytes(result.picture)
    if as_json:
        print_json({"file": str(out), "job": result.job_id, "faces": list(result.faces)})
        return
    say(f"{out}: {len(result.faces)} face{'s' if len(result.faces) != 1 else ''} swapped")
