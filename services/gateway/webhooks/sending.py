"""One POST to a receiver: to an address that was checked, within a few seconds, without following it anywhere."""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx

from services.gateway.settings import GatewaySettings
from services.gateway.webhooks.addresses import AddressRefusedError, check_webhook_url, resolve

MAX_ANSWER_BYTES: Final = 4096  # of which the beginning is kept as what went wrong
SHOWN_BYTES: Final = 200
_OWN_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "Likeness-Webhooks"}
_GONE: Final = 410


@dataclass(frozen=True)
class Outcome:
    """How an attempt went: `error` is None when the receiver has taken the message."""

    error: str | None = None
    try_again: bool = True
    retry_after_s: float | None = None


def post(url: str, body: str, headers: Mapping[str, str], settings: GatewaySettings) -> Outcome:
    """Sends a message; never raises for what receivers do, or for where the URL leads."""
    timeout_s = settings.webhook_timeout_s
    try:
        check_webhook_url(url, settings)
        backend = _CheckedBackend(time.monotonic() + timeout_s, settings.webhook_allow_loopback)
        with httpcore.ConnectionPool(
            ssl_context=_ssl_context(), network_backend=backend, retries=0, http1=True, http2=False
        ) as pool:
            timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
            sent: dict[bytes | str, bytes | str] = {
                "Content-Type": "application/json",
                "User-Agent": "Likeness-Webhooks",
            }
            sent.update(headers)
            with pool.stream(
                "POST", url, headers=sent, content=body.encode(), extensions={"timeout": timeouts}
            ) as answer:
                return _read(answer)
    except AddressRefusedError as error:
        return Outcome(str(error), try_again=False)
    except httpcore.TimeoutException:
        return Outcome(f"no answer within {timeout_s:g} s")
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        return Outcome(f"{type(error).__name__}: {error}"[:SHOWN_BYTES])
    except Exception as error:  # a URL that was allowed once and is not any more, or is none
        return Outcome(f"{type(error).__name__}: {error}"[:SHOWN_BYTES], try_again=False)


def _read(answer: httpcore.Response) -> Outcome:
    if 200 <= answer.status < 300:
        return Outcome()
    if 300 <= answer.status < 400:
        return Outcome(f"HTTP {answer.status}: redirects are not followed; name the final URL")
    text = b""
    for piece in answer.iter_stream():
        text += piece
        if len(text) >= MAX_ANSWER_BYTES:
            break
    shown = " ".join(text[:SHOWN_BYTES].decode("utf-8", "replace").split())
    error = f"HTTP {answer.status}: {shown}".rstrip(": ").replace("\x00", "")
    return Outcome(error, try_again=answer.status != _GONE, retry_after_s=_retry_after_s(answer.headers))


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.strip().isdigit():
            return float(value)
    return None


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were looked up once and found to be public; all within one time limit."""

    def __init__(self, give_up_at: float, allow_loopback: bool) -> None:
        self._give_up_at = give_up_at
        self._allow_loopback = allow_loopback
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        for address in resolve(host, port, allow_loopback=self._allow_loopback):
            try:
                left_s = _left(self._give_up_at, httpcore.ConnectTimeout)
                stream = self._backend.connect_tcp(address, port, left_s, local_address, socket_options)
                return _TimedStream(stream, self._give_up_at)
            except httpcore.ConnectError as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")


class _TimedStream(httpcore.NetworkStream):
    """A connection of which all reads and writes together end in time, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, give_up_at: float) -> None:
        self._stream = stream
        self._give_up_at = give_up_at

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._give_up_at, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._give_up_at, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left_s = _left(self._give_up_at, httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._give_up_at)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(give_up_at: float, error: type[httpcore.TimeoutException]) -> float:
    left_s = give_up_at - time.monotonic()
    if left_s <= 0:
        raise error("the time is up")
    return left_s
