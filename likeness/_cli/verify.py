"""`likeness verify`: whether a file was made here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import print_json, print_table, say, working
from likeness._client import Client

NOT_FOUND: Final = 3  # exit code


def verify(
    file: Annotated[
        Path, typer.Argument(help="A recording, picture or film.", exists=True, dir_okay=False, show_default=False)
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Its manifest (.c2pa), where that lies beside it.", exists=True, dir_okay=False),
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Tell whether a file was made by this server: by its manifest, its invisible mark, and its hash.

    Ends with 0 when it was, and with 3 when nothing says so, which proves nothing. A file that ends in .pcm is taken
    for bare samples.
    """
    with Client(url, api_key) as client, working("Verifying"):
        found = client.verify(file, manifest=manifest, format="pcm" if file.suffix == ".pcm" else None)
    if as_json:
        print_json(found)
    else:
        say(found.summary)
        rows = [
            (
                origin.made_at,
                origin.kind,
                ", ".join(origin.evidence),
                origin.job,
                None if origin.consent is None else f"{origin.consent['id']} ({origin.consent['kind']})",
            )
            for origin in found.origins
        ]
        if rows:
            print_table("Origins", ("made", "kind", "known by", "job", "consent"), rows, empty="")
    if not found.made_here:
        raise typer.Exit(NOT_FOUND)
