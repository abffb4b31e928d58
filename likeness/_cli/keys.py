"""`likeness keys create|list|rotate|revoke`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from likeness._accounts import ApiKey, Keys
from likeness._cli.options import DEFAULT_DATA_DIR, URL, DataDir, Json, Url
from likeness._cli.options import ApiKey as ApiKeyOption
from likeness._cli.output import complain, print_json, print_table, say
from likeness._client import DEFAULT_TIMEOUT_S
from likeness._transport import Transport

app = typer.Typer(help="API keys: who may use a gateway, and for what.", no_args_is_help=True)
KeyId = Annotated[str, typer.Argument(help="Id of the key.", show_default=False)]
ExpiresAt = Annotated[str | None, typer.Option(help="Until when, such as 2030-01-31T12:00:00Z.", show_default=False)]
Local = Annotated[
    bool, typer.Option("--local", help="Work on the data folder itself: no gateway and no key is needed.")
]


@contextmanager
def open_keys(url: str, api_key: str | None, local: bool, data_dir: Path) -> Iterator[Keys]:
    """The keys of a gateway, or those in a data folder: by the same API, in this process."""
    if not local:
        transport = Transport(url, api_key, DEFAULT_TIMEOUT_S)
        try:
            yield Keys(transport, "/v1/keys")
        finally:
            transport.close()
        return
    import httpx

    from services.gateway.app import create_app
    from services.gateway.settings import GatewaySettings

    gateway = create_app(GatewaySettings(data_dir=data_dir, host="127.0.0.1", auth="auto", log_level="error"))
    transport = Transport("http://127.0.0.1", None, DEFAULT_TIMEOUT_S, through=httpx.WSGITransport(gateway))
    try:
        yield Keys(transport, "/v1/keys")
    finally:
        transport.close()
        gateway.extensions["likeness"].close()


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What it is for.")] = "key",
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="What it allows: read, voices, faces, speech, swaps, jobs, media, admin. May be given several times; "
            "by default all but admin.",
            show_default=False,
        ),
    ] = None,
    expires_at: ExpiresAt = None,
    tenant: Annotated[str | None, typer.Option(help="Another tenant's; for operators.", show_default=False)] = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKeyOption = None,
) -> None:
    """Make a key and print it, once."""
    with open_keys(url, api_key, local, data_dir) as keys:
        made = keys.create(name, scopes=scopes or None, expires_at=expires_at, tenant=tenant)
    _print_new(made, as_json)


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Another tenant's; for operators.", show_default=False)] = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKeyOption = None,
) -> None:
    """List keys, newest first."""
    with open_keys(url, api_key, local, data_dir) as keys:
        found = keys.list(tenant=tenant)
    if as_json:
        print_json(found)
        return
    rows = [
        (key.id, key.name, key.tenant, key.prefix, " ".join(key.scopes), key.expires_at, key.last_used_at)
        for key in found
    ]
    columns = ("id", "name", "tenant", "begins with", "scopes", "expires", "last used")
    print_table("API keys", columns, rows, empty="There is no key yet; `likeness keys create` makes one.")


@app.command("rotate")
def rotate(
    key: KeyId,
    overlap: Annotated[int, typer.Option(min=0, help="Seconds for which the old key stays valid.")] = 3600,
    expires_at: ExpiresAt = None,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Json = False,
    url: Url = URL,
    api_key: ApiKeyOption = None,
) -> None:
    """Replace a key by a new one and print that, once."""
    with open_keys(url, api_key, local, data_dir) as keys:
        made = keys.rotate(key, overlap_seconds=overlap, expires_at=expires_at)
    _print_new(made, as_json)


@app.command("revoke")
def revoke(
    key: KeyId,
    local: Local = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    url: Url = URL,
    api_key: ApiKeyOption = None,
) -> None:
    """Let a key open nothing any more, at once."""
    with open_keys(url, api_key, local, data_dir) as keys:
        keys.revoke(key)
    say(f"{key}: revoked")


def _print_new(made: ApiKey, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    say(str(made.key))
    complain(f"{made.id} ({made.name}): {' '.join(made.scopes)}. The key is not shown again.", style="dim")
