"""`likeness audit list|verify|anchor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness._accounts import AuditVerification
from likeness._cli.options import DEFAULT_DATA_DIR, URL, ApiKey, DataDir, Json, Url, writable
from likeness._cli.output import complain, print_json, print_table, say, working
from likeness._client import Client

app = typer.Typer(help="Who did what: a chain of entries that cannot be changed unseen.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 50,
    object_id: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this object.", show_default=False)
    ] = None,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """List what was done."""
    with Client(url, api_key) as client:
        found = client.audit.list(object_id=object_id, limit=limit)
    if as_json:
        print_json(found)
        return
    rows = [
        (item.created_at, item.actor, item.action, item.object_id, item.status, (item.details or {}).get("reason"))
        for item in found
    ]
    print_table("Audit", ("time", "actor", "action", "object", "status", "reason"), rows, empty="There are no entries.")


@app.command("anchor")
def anchor(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.", dir_okay=False)] = Path("audit-anchor.jws"),
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Take an anchor: the audit's end as it is now, signed. Keep it where nobody can change it."""
    path = writable(out)
    with Client(url, api_key) as client:
        taken = client.audit.anchor()
    path.write_text(taken.anchor + "\n", encoding="ascii")
    if as_json:
        print_json(taken)
    else:
        say(f"{path}: entry {taken.seq}, {taken.sha256}")


@app.command("verify")
def verify(
    anchors: Annotated[
        list[Path] | None,
        typer.Option("--anchor", help="One that was taken before; may be given several times.", exists=True),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="Read this database itself, instead of asking the server to.", show_default=False),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(help="That verifies anchors, in PEM; by default that in the data folder.", exists=True),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKey = None,
) -> None:
    """Check every link of the audit's chain, and that anchors taken before still fit.

    Ends with 1 when something was changed, removed, added or moved.
    """
    texts = [path.read_text(encoding="ascii", errors="replace") for path in anchors or ()]
    with working("Reading the audit"):
        if database is None:
            with Client(url, api_key) as client:
                found = client.audit.verify(texts)
        else:
            found = _verify_here(database, texts, public_key, data_dir)
    if as_json:
        print_json(found)
    else:
        say(f"{found.entries} entries, {found.anchors} anchors: {'intact' if found.intact else 'NOT INTACT'}")
        if found.unchained:
            say(f"{found.unchained} entries of an older version have no place in the chain yet.")
        for finding in found.findings:
            complain(f"{finding['seq']}: {finding['what']}: {finding['detail']}")
    if not found.intact:
        raise typer.Exit(1)


def _verify_here(database: str, texts: list[str], public_key: Path | None, data_dir: Path) -> AuditVerification:
    from dataclasses import asdict

    from services.common.keys import RECEIPTS, KeysError, load_private_key, load_public_key
    from services.gateway.auditing.anchors import AnchorError, read_anchor
    from services.gateway.auditing.check import check_audit
    from services.gateway.db import Database

    try:
        keys = []
        if texts:
            keys = [
                load_private_key(data_dir / "keys" / RECEIPTS).public_key()
                if public_key is None
                else load_public_key(public_key)
            ]
        told = [read_anchor(text, keys) for text in texts]
    except (KeysError, AnchorError) as error:
        raise typer.BadParameter(f"{error}") from error
    opened = Database(database)
    try:
        opened.check_schema()
        report = check_audit(opened, told)
    finally:
        opened.close()
    return AuditVerification.from_json({**asdict(report), "intact": report.is_intact})
