"""Where webhooks may go: public addresses only, so that nobody makes this server call what only it can reach."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import SplitResult, urlsplit

from services.common.errors import LikenessError
from services.gateway.settings import GatewaySettings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_CHARACTERS: Final = 2048
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# Clouds answer their machines' questions here: Azure's wire server, which has a public address. The others' are
# link-local or private anyway.
_METADATA: Final = frozenset((ipaddress.ip_address("168.63.129.16"),))


class AddressRefusedError(Exception):
    """The name leads to where webhooks may not go."""


def check_webhook_url(url: str, settings: GatewaySettings, *, field: str = "webhook_url") -> None:
    """What can be said of an URL without asking DNS, which is asked when something is sent.

    Raises:
        LikenessError: INVALID_FIELD.
    """
    try:
        _check(url, settings)
    except (AddressRefusedError, ValueError) as error:
        raise LikenessError("INVALID_FIELD", f"Webhooks cannot be sent to this URL: {error}", field=field) from error


def _check(url: str, settings: GatewaySettings) -> None:
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or any(character <= " " for character in url):
        raise ValueError(f"give at most {MAX_URL_CHARACTERS} ASCII characters without spaces.")
    parts = urlsplit(url)
    host = parts.hostname
    _ = parts.port  # raises ValueError for one that is no number
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected https:// and a host.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it must not hold a user name or a password.")
    if parts.scheme == "http" and not _may_be_plain(parts, settings):
        raise ValueError("it must begin with https://.")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    refuse_private(address, host, allow_loopback=settings.webhook_allow_loopback)


def _may_be_plain(parts: SplitResult, settings: GatewaySettings) -> bool:
    host = (parts.hostname or "").lower()
    if settings.webhook_allow_loopback and _is_loopback_name(host):
        return True
    return host in {name.lower() for name in settings.webhook_http_hosts}


def _is_loopback_name(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def resolve(host: str, port: int, *, allow_loopback: bool) -> list[str]:
    """The addresses of a host, all of which may be called: connect to these, and ask no second time.

    Raises:
        AddressRefusedError: one of them, at least, is private, loopback, link-local or otherwise not public.
        OSError: the name is not known.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        refuse_private(ipaddress.ip_address(address), host, allow_loopback=allow_loopback)
    return addresses


def refuse_private(address: IPAddress, host: str, *, allow_loopback: bool) -> None:
    """Raises AddressRefusedError unless the address is a public one."""
    if allow_loopback and address.is_loopback:
        return
    for meant in (address, *_inside(address)):
        if not meant.is_global or meant.is_multicast or meant.is_reserved or meant in _METADATA:
            where = str(address) if host == str(address) else f"{host}, which is {address},"
            raise AddressRefusedError(f"{where} is not a public address.")


def _inside(address: IPAddress) -> list[IPAddress]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[IPAddress | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
