"""`likeness media list|info|get|url|delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from likeness._cli.options import URL, ApiKey, Json, Url, writable
from likeness._cli.output import print_json, print_table, progress_bar, say
from likeness._client import Client

app = typer.Typer(help="Files that the server keeps: results, samples, pictures, uploads.", no_args_is_help=True)
MediaId = Annotated[str, typer.Argument(help="Id of the file.", show_default=False)]


@app.command("list")
def list_(
    purpose: Annotated[
        str | None, typer.Option(help="Only those: swap, speech, upload, swap_target, ...", show_default=False)
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only what this job made.", show_default=False)] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """List files, newest first."""
    with Client(url, api_key) as client:
        found = client.media.list(purpose=purpose, job=job)
    if as_json:
        print_json(found)
        return
    rows = [
        (item.id, item.purpose, item.file_name, item.content_type, f"{item.size_bytes / 1e6:.2f}", item.expires_at)
        for item in found
    ]
    print_table("Files", ("id", "purpose", "name", "kind", "MB", "expires"), rows, empty="There are no files.")


@app.command("info")
def info(media: MediaId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Print what is known of a file, as JSON."""
    with Client(url, api_key) as client:
        print_json(client.media.info(media))


@app.command("get")
def get(
    media: MediaId,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; by default its own name.", dir_okay=False)
    ] = None,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Download a file."""
    with Client(url, api_key) as client:
        known = client.media.info(media)
        path = writable(out or Path(Path(known.file_name).name))
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with progress_bar(*columns, TimeRemainingColumn()) as bar:
            task = bar.add_task(path.name, total=known.size_bytes)
            client.media.save(media, path, on_progress=lambda count: bar.advance(task, count))
    say(str(path))


@app.command("url")
def url_(media: MediaId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Print a URL of a file that works for a short time without an API key."""
    with Client(url, api_key) as client:
        say(client.media.url(media))


@app.command("delete")
def delete(media: MediaId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Delete a file with all that was made of it."""
    with Client(url, api_key) as client:
        client.media.delete(media)
    say(f"{media}: deleted")
