"""`likeness jobs show|watch|cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from likeness._cli.film_bar import film_bar
from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import print_json, print_table, say
from likeness._client import Client
from likeness._types import Job

app = typer.Typer(help="Records of what was done, and work in the background.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="Id of the job.", show_default=False)]


@app.command("show")
def show(job: JobId, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """Show how a speech or a swap went."""
    with Client(url, api_key) as client:
        _print(client.jobs.get(job), as_json)


@app.command("watch")
def watch(job: JobId, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """Follow a swap until it ends. Ctrl-C only stops watching."""
    with Client(url, api_key) as client:
        swap = client.swaps.get(job)
        with film_bar("Waiting") as told:
            swap.wait(on_progress=told)
        _print(client.jobs.get(job), as_json)


@app.command("cancel")
def cancel(job: JobId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Stop work in the background."""
    with Client(url, api_key) as client:
        ended = client.jobs.cancel(job)
    say(f"{ended.id}: {ended.status}")


def _print(found: Job, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows: list[tuple[str, object]] = [("kind", found.kind), ("status", found.status), ("media", found.media)]
    rows += sorted(found.figures.items())
    if found.status == "processing":
        rows += sorted((found.progress or {}).items())
    if found.error:
        rows += [("error", found.error.get("reason")), ("detail", found.error.get("detail"))]
    print_table(found.id, ("", "value"), rows, empty="")
