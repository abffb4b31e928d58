"""`likeness consents create|phrase|prove|list|receipt|verify-receipt|revoke`."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from likeness._cli.options import URL, ApiKey, Json, Url
from likeness._cli.output import complain, print_json, print_table, say
from likeness._client import Client
from likeness._consents import Challenge, Consents
from likeness._receipts import ReceiptError, verify_receipt
from likeness._types import Consent

app = typer.Typer(help="Consents: without one, no voice and no face is made or used.", no_args_is_help=True)


class Likeness(enum.StrEnum):
    voice = "voice"
    face = "face"


class Kind(enum.StrEnum):
    attested = "attested"
    synthetic = "synthetic"


Languages = Annotated[
    list[str] | None,
    typer.Option("--language", help="What may be spoken, such as en; may be repeated.", show_default=False),
]
Purpose = Annotated[str | None, typer.Option(help="What the likeness is for.", show_default=False)]
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
    language: Languages = None,
    purpose: Purpose = None,
    document: Annotated[
        Path | None,
        typer.Option(help="The signed form: PDF, PNG or JPEG.", exists=True, dir_okay=False, show_default=False),
    ] = None,
    adult: Annotated[bool | None, typer.Option("--adult/--minor", help="Is the person an adult?")] = None,
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
            who=who,
            kind=kind.value,
            evidence=evidence,
            attested_by=attested_by,
            expires_at=expires_at,
            languages=language,
            purpose=purpose,
            adult=adult,
            document=document,
        )
    _tell(consent, as_json)


@app.command("phrase")
def phrase(
    who: Annotated[str, typer.Option(help="The person's name.", show_default=False)],
    language: Languages = None,
    purpose: Purpose = None,
    expires_at: Annotated[
        str | None, typer.Option(help="Until when the consent shall hold.", show_default=False)
    ] = None,
    of: Of = Likeness.voice,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Ask for what a person must say, or which way they must turn their head, to consent themselves."""
    with Client(url, api_key) as client:
        asked = _collection(client, of).ask(who, languages=language, purpose=purpose, expires_at=expires_at)
    if as_json:
        print_json(asked)
        return
    say_task(asked, f"likeness consents prove FILE --challenge {asked.id} --for {of.value}")


def say_task(asked: Challenge, then: str) -> None:
    """What a person is asked to do, and the command that sends the proof."""
    say(asked.instructions)
    if asked.phrase is not None:
        say(f"\n    {asked.phrase}\n")
    say(f"Then, before {asked.expires_at}: {then}")


@app.command("prove")
def prove(
    file: Annotated[
        Path, typer.Argument(help="The recording or the film.", exists=True, dir_okay=False, show_default=False)
    ],
    challenge: Annotated[str, typer.Option(help="Id of the task, as `phrase` printed it.", show_default=False)],
    of: Of = Likeness.voice,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Send the recording or film of a person who consents. Each task is for one, whatever comes of it."""
    with Client(url, api_key) as client:
        _tell(_collection(client, of).prove(challenge, file), as_json)


@app.command("receipt")
def receipt(
    consent: Annotated[str, typer.Argument(help="Id of the consent.", show_default=False)],
    of: Of = Likeness.voice,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Print the signed receipt of a consent, for the person whose likeness it is."""
    with Client(url, api_key) as client:
        found = _collection(client, of).receipt(consent)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(found.receipt + "\n")


@app.command("verify-receipt")
def verify(
    file: Annotated[
        Path,
        typer.Argument(help="The receipt, as `receipt` printed it.", exists=True, dir_okay=False, show_default=False),
    ],
    keys: Annotated[
        Path,
        typer.Option(
            help="The installation's public keys, /.well-known/jwks.json.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Check a receipt without any server. Whether the consent was revoked since, it cannot say."""
    try:
        claims = verify_receipt(file.read_text(encoding="utf-8"), keys.read_text(encoding="utf-8"))
    except (ReceiptError, UnicodeDecodeError) as error:
        complain(f"Not genuine: {error}.")
        raise typer.Exit(1) from error
    if as_json:
        print_json(claims)
        return
    until = claims.get("until") or "revoked"
    say(f"Genuine: {claims['sub']} gave a {claims['kind']} consent for {', '.join(claims['uses'])}, until {until}.")
    say(f"{claims['jti']}. To take it back: {claims['revoke']}")


def _tell(consent: Consent, as_json: bool) -> None:
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
