"""`likeness backup` and `likeness restore`: all records and files of a gateway as one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from likeness._cli.options import DEFAULT_DATA_DIR, DataDir, Json
from likeness._cli.output import complain, print_json, progress_bar, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from services.common.store import ObjectStore
    from services.gateway.db import Database
    from services.gateway.settings import GatewaySettings


def backup(
    file: Annotated[Path, typer.Argument(help="File to write (tar).", dir_okay=False, show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
) -> None:
    """Write all records and files into one file; the gateway may go on serving.

    Where they are is told by the same LIKENESS_ variables as the gateway is: database, object store. Keep the file as
    safe as the files themselves.
    """
    from services.gateway.backup import write_backup

    with _opened(data_dir) as (_, database, store), _bar("Writing") as (bar, task):
        report = write_backup(
            database,
            store,
            file,
            on_total=lambda total: bar.update(task, total=total),
            on_progress=lambda count: bar.advance(task, count),
        )
    if as_json:
        print_json({"file": str(file), "objects": report.objects, "records": report.rows, "damaged": report.damaged})
    else:
        say(f"{file}: {report.objects} files, {report.rows} records, {report.size_bytes / 1e6:.1f} MB")
    for key in report.damaged:
        complain(f"{key} is missing or not what its record says, and is not in the backup.")
    if report.damaged:
        raise typer.Exit(1)


def restore(
    file: Annotated[Path, typer.Argument(help="Backup to read.", exists=True, dir_okay=False, show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    force: Annotated[bool, typer.Option("--force", help="Delete the records and files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Put the records and files of a backup into an empty database and object store, of whatever kind.

    Gateway and workers must not be running. Jobs that had not ended begin again.
    """
    from services.gateway.backup import restore_backup

    with _opened(data_dir) as (settings, database, store), _bar("Reading") as (bar, task):
        bar.update(task, total=2 * file.stat().st_size)  # it is verified first
        report = restore_backup(
            settings, database, store, file, force=force, on_progress=lambda count: bar.advance(task, count)
        )
    if as_json:
        print_json(report)
        return
    say(f"{report.objects} files and {report.rows} records are restored.")
    if report.jobs_queued or report.jobs_failed:
        say(f"{report.jobs_queued} jobs begin again; {report.jobs_failed} that somebody waited for have failed.")


@contextmanager
def _opened(data_dir: Path) -> Iterator[tuple[GatewaySettings, Database, ObjectStore]]:
    """What the gateway of that folder and these variables works with; failures as a line of text."""
    from sqlalchemy.exc import SQLAlchemyError

    from services.common.errors import LikenessError
    from services.common.store import open_store
    from services.gateway.backup import BackupError
    from services.gateway.db import Database, SchemaVersionError
    from services.gateway.settings import GatewaySettings

    settings = GatewaySettings(data_dir=data_dir)
    database = Database(settings.resolved_database_url)
    try:
        yield settings, database, open_store(settings)
    except (BackupError, SchemaVersionError) as error:
        complain(str(error))
        raise typer.Exit(1) from error
    except LikenessError as error:
        complain(error.detail)
        raise typer.Exit(1) from error
    except SQLAlchemyError as error:
        complain(f"The database cannot be used: {error}")
        raise typer.Exit(1) from error
    finally:
        database.close()


@contextmanager
def _bar(what: str) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with progress_bar(*columns, TimeElapsedColumn()) as bar:
        yield bar, bar.add_task(what, total=None)
