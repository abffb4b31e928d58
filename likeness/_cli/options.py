"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from likeness._client import DEFAULT_URL

DEFAULT_DATA_DIR: Final = Path(".likeness")

Url = Annotated[str, typer.Option("--url", envvar="LIKENESS_URL", help="Address of the gateway.")]
ApiKey = Annotated[
    str | None, typer.Option("--api-key", envvar="LIKENESS_API_KEY", help="Sent as bearer token.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="LIKENESS_DATA_DIR", help="Folder of database, media and logs.")
]
OutFile = Annotated[Path, typer.Option("--out", "-o", help="File to write.", dir_okay=False)]
URL: Final = DEFAULT_URL


def writable(path: Path) -> Path:
    """Makes the folder of an output file, so that no work is lost for lack of one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"cannot make the folder {path.parent}: {error.strerror}; name another --out"
        ) from error
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder; name a file with --out")
    return path
