"""`likeness jobs show`."""

from __future__ import annotations

from typing import Annotated

import typer

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import print_json, print_table
from likeness._client import Client

app = typer.Typer(help="Records of what was done.", no_args_is_help=True)


@app.command("show")
def show(
    job: Annotated[str, typer.Argument(help="Id of the job.", show_default=False)],
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Show how a speech or a swap went."""
    with Client(url, api_key) as client:
        found = client.jobs.get(job)
    if as_json:
        print_json(found)
        return
    rows: list[tuple[str, object]] = [("kind", found.kind), ("status", found.status), ("media", found.media)]
    rows += sorted(found.figures.items())
    if found.error:
        rows += [("error", found.error.get("reason")), ("detail", found.error.get("detail"))]
    print_table(found.id, ("", "value"), rows, empty="")
