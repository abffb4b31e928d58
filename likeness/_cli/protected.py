"""`likeness protected ask|add|list|remove`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from likeness._cli.consents import Likeness, say_task
from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import print_json, print_table, say
from likeness._client import Client

app = typer.Typer(help="People who must never be cloned, by anybody.", no_args_is_help=True)

Recording = Annotated[
    Path | None, typer.Option(help="Of the phrase of a task.", exists=True, dir_okay=False, show_default=False)
]
Film = Annotated[
    Path | None, typer.Option(help="Of the turns of a task.", exists=True, dir_okay=False, show_default=False)
]
Task = Annotated[
    str | None, typer.Option("--challenge", help="Id of the task, as `ask` printed it.", show_default=False)
]


@app.command("ask")
def ask(
    who: Annotated[str | None, typer.Option(help="The person's name.", show_default=False)] = None,
    of: Annotated[Likeness, typer.Option("--for", help="What is to be protected.")] = Likeness.voice,
    removal_of: Annotated[
        str | None, typer.Option(help="Instead: id of the entry that its person ends.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Ask for what a person must say or do, to be protected or not any more."""
    if (who is None) == (removal_of is None):
        raise typer.BadParameter("give --who, or the entry with --removal-of")
    with Client(url, api_key) as client:
        asked = client.protected.ask_removal(removal_of) if removal_of else client.protected.ask(str(who), of.value)
    if as_json:
        print_json(asked)
        return
    proof = "--recording FILE" if asked.phrase is not None else "--film FILE"
    then = f"remove {removal_of}" if removal_of else "add"
    say_task(asked, f"likeness protected {then} --challenge {asked.id} {proof}")


@app.command("add")
def add(
    challenge: Task = None,
    recording: Recording = None,
    film: Film = None,
    who: Annotated[str | None, typer.Option(help="Without a task: the person's name.", show_default=False)] = None,
    attested_by: Annotated[str | None, typer.Option(help="Who answers for it.", show_default=False)] = None,
    document: Annotated[
        Path | None, typer.Option(help="What they signed.", exists=True, dir_okay=False, show_default=False)
    ] = None,
    sample: Annotated[
        list[Path] | None,
        typer.Option(help="Recording of them; may be repeated.", exists=True, dir_okay=False, show_default=False),
    ] = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option(help="Picture of them; may be repeated.", exists=True, dir_okay=False, show_default=False),
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Protect a person: with the proof of a task, or as an administrator with what they signed."""
    with Client(url, api_key) as client:
        if challenge is not None:
            _need_one(recording, film)
            made = client.protected.prove(challenge, recording=recording, film=film)
        elif who and attested_by and document and bool(sample) != bool(picture):
            made = client.protected.attest(
                who, attested_by=attested_by, document=document, audio_samples=sample or (), pictures=picture or ()
            )
        else:
            raise typer.BadParameter(
                "give --challenge with --recording or --film; or --who, --attested-by, --document, and --sample or "
                "--picture"
            )
    if as_json:
        print_json(made)
    else:
        say(f"{made.id}: the {made.subject} of {made.who} is protected")


@app.command("list")
def list_(as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """List the people that this tenant has registered, newest first."""
    with Client(url, api_key) as client:
        found = client.protected.list()
    if as_json:
        print_json(found)
        return
    print_table(
        "Protected people",
        ("id", "what", "who", "proven", "since"),
        [
            (item.id, item.subject, item.who, item.attested_by or item.kind, f"{_day(item.created_at)}")
            for item in found
        ],
        empty="Nobody is protected yet; `likeness protected ask` begins.",
    )


@app.command("remove")
def remove(
    entry: Annotated[str, typer.Argument(help="Id of the entry.", show_default=False)],
    challenge: Task = None,
    recording: Recording = None,
    film: Film = None,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Stop protecting a person: on their own proof of a task, or without one as an administrator."""
    if challenge is not None:
        _need_one(recording, film)
    elif recording or film:
        raise typer.BadParameter("name the task of the proof with --challenge")
    with Client(url, api_key) as client:
        client.protected.remove(entry, challenge, recording=recording, film=film)
    say(f"{entry}: not protected any more")


def _need_one(recording: Path | None, film: Path | None) -> None:
    if (recording is None) == (film is None):
        raise typer.BadParameter("give the --recording or the --film of the task")


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
