"""`likeness jobs list|show|watch|cancel|retry|delete`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from likeness._cli.film_bar import describe, film_bar
from likeness._cli.options import URL, ApiKey, Json, Url, writable
from likeness._cli.output import print_json, print_table, say
from likeness._cli.speak import TIMESTAMP_WRITERS
from likeness._client import Client
from likeness._errors import LikenessJobError
from likeness._types import ENDED, Job, Progress

STATES = ("queued", "processing", *ENDED)
KINDS = ("speech", "swap", "live", "batch")

app = typer.Typer(help="Work in the background, and records of what was done.", no_args_is_help=True)
JobId = Annotated[str, typer.Argument(help="Id of the job.", show_default=False)]


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help=f"Only {', '.join(STATES)}.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help=f"Only {', '.join(KINDS)}.", show_default=False)] = None,
    batch: Annotated[str | None, typer.Option(help="The items of this batch.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """List jobs, newest first."""
    if status is not None and status not in STATES:
        raise typer.BadParameter(f"--status {status!r}: one of {', '.join(STATES)}")
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"--kind {kind!r}: one of {', '.join(KINDS)}")
    with Client(url, api_key) as client:
        found = client.jobs.list(status=status, kind=kind, batch=batch, limit=limit)
    if as_json:
        print_json(found)
        return
    columns = ("id", "kind", "status", "begun", "progress", "result")
    print_table("Jobs", columns, [_row(job) for job in found], empty="There are no such jobs.")


@app.command("show")
def show(job: JobId, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """Show how a job goes, or how it went."""
    with Client(url, api_key) as client:
        _print(client.jobs.get(job), as_json)


@app.command("watch")
def watch(job: JobId, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """Follow a job until it ends. Ctrl-C only stops watching."""
    with Client(url, api_key) as client:
        if client.jobs.get(job).status not in ENDED:
            with film_bar("Waiting") as told:
                for event in client.jobs.watch(job):
                    if event.kind == "progress":
                        told(Progress.from_json(event.data))
        found = client.jobs.get(job)
    _print(found, as_json)
    if found.status != "succeeded":
        raise LikenessJobError(found.id, found.status, {**(found.error or {}), "field": None})


@app.command("timestamps")
def timestamps(
    job: JobId,
    out: Annotated[Path, typer.Argument(help="Ends with .json, .srt or .vtt.", show_default=False)],
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Write when the words of a speech are spoken that was ordered with timestamps."""
    write = TIMESTAMP_WRITERS.get(out.suffix.lower())
    if write is None:
        raise typer.BadParameter(f"{out.name!r}: end the file's name with {', '.join(TIMESTAMP_WRITERS)}")
    with Client(url, api_key) as client:
        words = client.jobs.words(job)
    writable(out).write_text(write(words), encoding="utf-8")
    say(f"{out}: {len(words)} words")


@app.command("cancel")
def cancel(job: JobId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Stop work in the background."""
    with Client(url, api_key) as client:
        ended = client.jobs.cancel(job)
    say(f"{ended.id}: {ended.status}")


@app.command("retry")
def retry(job: JobId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Do a job that failed or was canceled once more; what it had finished is used again."""
    with Client(url, api_key) as client:
        queued = client.jobs.retry(job)
    say(f"{queued.id}: {queued.status}, attempt {queued.attempt}")


@app.command("delete")
def delete(job: JobId, url: Url = URL, api_key: ApiKey = None) -> None:
    """Delete a job that has ended, with its result."""
    with Client(url, api_key) as client:
        client.jobs.delete(job)
    say(f"{job}: deleted")


def _row(job: Job) -> tuple[str, ...]:
    begun = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M:%S")
    return job.id, job.kind, job.status, begun, _how_far(job), job.media or (job.error or {}).get("reason", "")


def _how_far(job: Job) -> str:
    return "" if job.progress is None or job.status in ENDED else describe(Progress.from_json(job.progress))


def _print(found: Job, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows: list[tuple[str, object]] = [("kind", found.kind), ("status", found.status), ("media", found.media)]
    if found.queue_position is not None:
        rows.append(("place in the queue", found.queue_position))
    if found.attempt > 1:
        rows.append(("attempt", found.attempt))
    rows += sorted(found.figures.items())
    if found.status not in ENDED:
        rows += sorted((name, value) for name, value in (found.progress or {}).items() if value is not None)
    if found.error:
        rows += [("error", found.error.get("reason")), ("detail", found.error.get("detail"))]
    print_table(found.id, ("", "value"), rows, empty="")
