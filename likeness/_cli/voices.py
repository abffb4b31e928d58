"""`likeness voices enrol|adapt|list|delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import complain, print_json, print_table, say, working
from likeness._cli.uploads import media_if_large
from likeness._client import Client
from likeness._types import Voice

app = typer.Typer(help="Enrolled voices.", no_args_is_help=True)


@app.command("enrol")
def enrol(
    name: Annotated[str, typer.Argument(help="How you will call the voice.", show_default=False)],
    samples: Annotated[
        list[Path],
        typer.Argument(
            metavar="SAMPLE...",
            help="One or several recordings of one person, ten seconds or so together.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    consent: Annotated[str, typer.Option(help="Id of the voice consent.", show_default=False)],
    fast: Annotated[
        bool, typer.Option("--fast", help="Leave out the search for the likest voice: seconds, not half a minute.")
    ] = False,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Make a voice from recordings. Of several, those that sound like somebody else are left out."""
    with Client(url, api_key) as client:
        media = media_if_large(client, samples[0], "voice_sample") if len(samples) == 1 else None
        with working(f"Enrolling {name}"):
            given = samples if media is None else None
            voice = client.voices.enrol(name, given, consent=consent, fast=fast, sample_media=media)
    if as_json:
        print_json(voice)
        return
    similarity = "" if voice.similarity is None else f", similarity to the recording {voice.similarity:.2f}"
    say(f"{voice.id}: {voice.name}{similarity}")
    for clip in voice.quality.get("clips", ()):
        if not clip["used"]:
            sample = samples[clip["number"] - 1].name
            complain(f"Left out: {sample}, similarity to the others {clip['similarity']:.2f}", style="yellow")
    for advice in voice.quality.get("advice", ()):
        complain(f"Advice: {advice}", style="yellow")


@app.command("adapt")
def adapt(
    voice: Annotated[str, typer.Argument(help="Id or name of the voice.", show_default=False)],
    adaptation: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Made by `python -m services.synthesizer.adapt`.", exists=True),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Speak as enrolled again.")] = False,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Install what a voice learned from more recordings, or remove it."""
    if (adaptation is None) != remove:
        raise typer.BadParameter("give either FILE or --remove")
    with Client(url, api_key) as client:
        if adaptation is None:
            client.voices.remove_adaptation(voice)
            say(f"{voice} is spoken as it was enrolled.")
            return
        with working(f"Adapting {voice}"):
            adapted = client.voices.adapt(voice, adaptation)
    if as_json:
        print_json(adapted)
        return
    measured = adapted.adaptation or {}
    before, after = measured.get("similarity_before", 0.0), measured.get("similarity", 0.0)
    say(f"{adapted.id}: {adapted.name}, similarity to the recording {before:.2f} -> {after:.2f}")


@app.command("list")
def list_(as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """List voices, newest first."""
    with Client(url, api_key) as client:
        found = client.voices.list()
    if as_json:
        print_json(found)
        return
    print_table(
        "Voices",
        ("id", "name", "consent", "seconds of speech", "similarity"),
        [_row(voice) for voice in found],
        empty="There is no voice yet; `likeness voices enrol` makes one.",
    )


@app.command("delete")
def delete(
    voice: Annotated[str, typer.Argument(help="Id or name of the voice.", show_default=False)],
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Delete a voice and its recording."""
    with Client(url, api_key) as client:
        client.voices.delete(voice)
    say(f"{voice}: deleted")


def _row(voice: Voice) -> tuple[str, ...]:
    speech_s = _number(voice.quality.get("speech_seconds"), 1)
    return voice.id, voice.name, voice.consent, speech_s, _number(voice.similarity, 2)


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) else ""
