"""`likeness upload`, and large files of other commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import complain, print_json, progress_bar, say
from likeness._client import Client
from likeness._errors import LikenessAPIError
from likeness._uploads import Upload

LARGE_BYTES: Final = 50 * 1024 * 1024  # above this, files go in parts
_UNKNOWN: Final = (404, 405)  # of a server that takes no uploads in parts
Purpose = Literal["swap_target", "voice_sample", "face_picture", "batch_input"]


def upload(
    file: Annotated[Path, typer.Argument(help="File to upload.", exists=True, dir_okay=False, show_default=False)],
    purpose: Annotated[Purpose, typer.Option(help="What it is for.")] = "swap_target",
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted upload of the same file.")
    ] = True,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Upload a file in parts and print its media id. After an interruption, the same command goes on."""
    with Client(url, api_key) as client:
        done = send(client, file, purpose, resume=resume)
    if as_json:
        print_json(done)
    else:
        say(str(done.media))


def send(client: Client, file: Path, purpose: Purpose, *, resume: bool = True) -> Upload:
    """Uploads with a bar on stderr. Ctrl-C leaves what has arrived, for the next attempt."""
    size_bytes = file.stat().st_size
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns, TimeRemainingColumn()) as bar:
        reading = bar.add_task(f"Reading {file.name}", total=size_bytes)
        sending = bar.add_task(f"Sending {file.name}", total=size_bytes, start=False)

        def sent(count: int) -> None:
            bar.start_task(sending)
            bar.advance(sending, count)

        try:
            return client.uploads.send(
                file,
                purpose=purpose,
                resume=resume,
                on_hashed=lambda count: bar.advance(reading, count),
                on_sent=sent,
            )
        except KeyboardInterrupt:
            complain("The upload is interrupted; the same command goes on with it.")
            raise


def media_if_large(client: Client, file: Path, purpose: Purpose) -> str | None:
    """The id under which a large file was uploaded; None for one that can go with a request, and where the server takes
    no uploads in parts."""
    if file.stat().st_size <= LARGE_BYTES:
        return None
    try:
        return send(client, file, purpose).media
    except LikenessAPIError as error:
        if error.status in _UNKNOWN:
            return None
        raise
