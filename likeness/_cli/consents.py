"""`likeness consents create|list|revoke`."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import print_json, print_table, say
from likeness._client import Client
from likeness._resources import Consents

app = typer.Typer(help="Consents: without one, no voice and no face is made or used.", no_args_is_help=True)


class Likeness(enum.StrEnum):
    voice = "voice"
    face = "face"


class Kind(enum.StrEnum):
    attested = "attested"
    synthetic = "synthetic"


Of = Annotated[Likeness, typer.Option("--for", help="What the consent is about.")]


def _collection(client: Client, of: Likeness) -> Consents:
    return client.voice_consents if of is Likeness.voice else client.face_consents


@app.command("create")
def create(
    who: Annotated[str, typer.Option(help="The person's name, or the synthetic persona's.", show_default=False)],
    evidence: Annotated[
        str, typer.Option(help="Where the agreement is kept, or how the persona was made.", show_default=False)
    ],
    kind: Annotated[
        Kind, typer.Option(help="attested: a real person agreed; synthetic: there is none.")
    ] = Kind.attested,
    attested_by: Annotated[
        str | None, typer.Option(help="Who vouches for it; needed when attested.", show_default=False)
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="Until when, such as 2030-01-31T12:00:00Z.", show_default=False)
    ] = None,
    of: Of = Likeness.voice,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Record that somebody agreed to be cloned or swapped."""
    if kind is Kind.attested and not attested_by:
        raise typer.BadParameter("an attested consent needs --attested-by: who vouches for it")
    with Client(url, api_key) as client:
        consent = _collection(client, of).create(
            who=who, kind=kind.value, evidence=evidence, attested_by=attested_by, expires_at=expires_at
        )
    if as_json:
        print_json(consent)
    else:
        say(f"{consent.id}: {consent.who}, {consent.kind}, for {', '.join(consent.uses)}")


@app.command("list")
def list_(of: Of = Likeness.voice, as_json: Json = False, url: Url = URL, api_key: ApiKey = None) -> None:
    """List consents, newest first."""
    with Client(url, api_key) as client:
        found = _collection(client, of).list()
    if as_json:
        print_json(found)
        return
    print_table(
        f"{of.value.capitalize()} consents",
        ("id", "who", "kind", "uses", "state", "expires"),
        [(item.id, item.who, item.kind, ", ".join(item.uses), item.state, item.expires_at) for item in found],
        empty=f"There is no {of.value} consent yet; `likeness consents create --for {of.value}` records one.",
    )


@app.command("revoke")
def revoke(
    consent: Annotated[str, typer.Argument(help="Id of the consent.", show_default=False)],
    of: Of = Likeness.voice,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Take a consent back. What was made with it can no longer be used; this cannot be undone."""
    with Client(url, api_key) as client:
        revoked = _collection(client, of).revoke(consent)
    say(f"{revoked.id}: {revoked.state}")
