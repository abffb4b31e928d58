"""`likeness batch run|list|show|cancel`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from likeness._cli.options import URL, ApiKey, Json, OutFile, Url, writable
from likeness._cli.output import complain, errors, print_json, print_table, say
from likeness._client import Client
from likeness._errors import LikenessClientError, LikenessJobError
from likeness._types import Batch

MAX_SHOWN: Final = 10

app = typer.Typer(help="Many requests from one file.", no_args_is_help=True)
BatchId = Annotated[str, typer.Argument(help="Id of the batch.", show_default=False)]


@app.command("run")
def run(
    file: Annotated[
        Path,
        typer.Argument(
            help='JSON lines: {"custom_id": "1", "method": "POST", "url": "/v1/audio/speech", "body": {...}}.',
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    out: OutFile,
    media: Annotated[
        Path | None,
        typer.Option(help="Folder for what was made, named by custom_id.", file_okay=False, show_default=False),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Lower is earlier among your jobs.", show_default=False)] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds until all must be done.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Send a file of requests, wait for all of them, and write the results. Ctrl-C cancels."""
    writable(out)
    with Client(url, api_key) as client:
        batch = client.batches.create(file, priority=priority, deadline_seconds=deadline)
        batch = _wait(client, batch)
        client.batches.save_results(batch, out)
        results = read_results(out)
        saved = 0 if media is None else _save_media(client, results, media)
    counts = batch.request_counts
    if as_json:
        print_json({"batch": batch.id, "file": str(out), "completed": counts.completed, "failed": counts.failed})
    else:
        kept = "" if media is None else f", {saved} files in {media}"
        say(f"{out}: {counts.completed} of {counts.total} done{kept}")
    _complain_of_failures(results)
    if counts.failed:
        raise typer.Exit(1)


@app.command("list")
def list_(as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """List batches, newest first."""
    with Client(url, api_key) as client:
        found = client.batches.list(limit=100)
    if as_json:
        print_json(found)
        return
    rows = [
        (item.id, item.status, item.request_counts.total, item.request_counts.completed, item.request_counts.failed)
        for item in found
    ]
    print_table("Batches", ("id", "status", "requests", "done", "failed"), rows, empty="There is no batch yet.")


@app.command("show")
def show(batch: BatchId, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """Show how far a batch is."""
    with Client(url, api_key) as client:
        found = client.batches.get(batch)
    if as_json:
        print_json(found)
        return
    counts = found.request_counts
    rows: list[tuple[str, object]] = [("status", found.status), ("requests", counts.total), ("done", counts.completed)]
    rows += [("failed", counts.failed), ("results", found.output_file_id)]
    print_table(found.id, ("", "value"), rows, empty="")


@app.command("cancel")
def cancel(batch: BatchId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Cancel what has not been done yet."""
    with Client(url, api_key) as client:
        found = client.batches.cancel(batch)
    say(f"{found.id}: {found.status}")


def _wait(client: Client, batch: Batch) -> Batch:
    try:
        with _live_table() as show:
            return client.batches.wait(batch.id, on_progress=show)
    except KeyboardInterrupt:
        try:
            client.batches.cancel(batch.id)
            complain(f"{batch.id} is cancelled.")
        except LikenessClientError as error:
            complain(f"{batch.id} could not be cancelled: {error}")
        raise
    except LikenessJobError as error:
        found = client.batches.get(batch.id)
        if found.output_file_id is None:
            raise
        complain(str(error))
        return found  # what was done before it ended has results


@contextmanager
def _live_table() -> Iterator[Callable[[Batch], None]]:
    """On a terminal a table on stderr that keeps up; nothing elsewhere."""
    if not errors.is_terminal:
        yield lambda batch: None
        return
    with Live(console=errors, transient=True, refresh_per_second=4) as live:
        yield lambda batch: live.update(progress_table(batch))


def progress_table(batch: Batch) -> Table:
    counts = batch.request_counts
    table = Table(title=batch.id, title_justify="left", header_style="bold")
    for column in ("status", "", "done", "failed", "of", "per second", "left"):
        table.add_column(column)
    table.add_row(
        batch.status,
        ProgressBar(total=counts.total or 1, completed=counts.completed + counts.failed, width=30),
        str(counts.completed),
        str(counts.failed),
        str(counts.total),
        "" if batch.rate is None else f"{batch.rate:.1f}",
        "" if batch.seconds_left is None else f"{batch.seconds_left:.0f} s",
    )
    return table


def read_results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _save_media(client: Client, results: list[dict[str, Any]], folder: Path) -> int:
    """Fetches what succeeded; how many files there are then."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = 0
    for number, line in enumerate(results):
        media_id = ((line.get("response") or {}).get("body") or {}).get("media")
        if line.get("error") is None and media_id:
            client.media.save_in(media_id, folder, _stem(number, str(line["custom_id"])))
            saved += 1
    return saved


def _stem(number: int, custom_id: str) -> str:
    """custom_id as far as it may be the name of a file, told apart by the line's number where it may not."""
    plain = "".join(character if character.isalnum() or character in "._-" else "_" for character in custom_id)
    plain = plain.lstrip(".")[:100]
    return plain if plain == custom_id else f"{number + 1}-{plain}"


def _complain_of_failures(results: list[dict[str, Any]]) -> None:
    failed = [line for line in results if line.get("error") is not None]
    for line in failed[:MAX_SHOWN]:
        complain(f"{line['custom_id']}: {line['error']['message']}")
    if len(failed) > MAX_SHOWN:
        complain(f"... and {len(failed) - MAX_SHOWN} more, in the file of results.")
