"""Puts the commands together and decides how failures are told.

Exit codes: 0 done; 1 the server or the machine could not; 2 the command was wrong, with one line saying what to change;
130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Final

import typer

from likeness._cli import (
    audit,
    backup,
    batch,
    consents,
    demo,
    doctor,
    jobs,
    keys,
    media,
    models,
    protected,
    record,
    speak,
    swap,
    up,
    uploads,
    verify,
    voices,
)
from likeness._cli.output import complain, say
from likeness._errors import LikenessAPIError, LikenessClientError, LikenessJobError
from likeness._stack import StackError

# The base of all that typer raises for a wrong command line. Newer versions carry their own copy of click, so it is
# taken from the family tree of a class that typer exports.
CommandLineError: Final[type[Exception]] = typer.BadParameter.__mro__[2]

# What the server answers when a file or an option is at fault.
BAD_INPUT: Final = (400, 413, 415, 422)

app = typer.Typer(
    name="likeness",
    help="Consented voice cloning and face swapping on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("up")(up.up)
app.command("doctor")(doctor.doctor)
app.command("speak")(speak.speak)
app.command("swap")(swap.swap)
app.command("verify")(verify.verify)
app.command("record")(record.record)
app.command("demo")(demo.demo)
app.command("upload")(uploads.upload)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(consents.app, name="consents")
app.add_typer(consents.app, name="consent", hidden=True)
app.add_typer(protected.app, name="protected")
app.add_typer(voices.app, name="voices")
app.add_typer(models.app, name="models")
app.add_typer(jobs.app, name="jobs")
app.add_typer(media.app, name="media")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(batch.app, name="batch")


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"likeness {version('likeness')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Consented voice cloning and face swapping on your own machine."""


def run(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    try:
        code = app(args=arguments, prog_name="likeness", standalone_mode=False)
    except CommandLineError as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "likeness"
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        complain(f"{where}: {message}")
        return 2
    except LikenessAPIError as error:
        if error.status in BAD_INPUT:
            complain(f"{error.title}: {error.detail}" if error.detail else error.title)
            return 2
        return _fail(error.title, error.detail)
    except LikenessJobError as error:
        complain(str(error))
        return 2 if error.field is not None else 1
    except (LikenessClientError, StackError) as error:
        return _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return code if isinstance(code, int) else 0


def _fail(title: str, detail: str = "") -> int:
    complain(title)
    if detail:
        complain(detail, style="")
    return 1


def main() -> None:
    sys.exit(run())
