"""HTTP to the gateway: sends, and turns every failure into an error of `likeness._errors`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from likeness._errors import LikenessAPIError, LikenessClientError, LikenessConnectionError

CONNECT_TIMEOUT_S: Final = 5.0


class Transport:
    """One connection pool to one gateway.

    Args:
        api_key: sent as bearer token when given.
        through: how requests travel, where it is not over the network.
    """

    def __init__(
        self, base_url: str, api_key: str | None, timeout_s: float, *, through: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=headers,
            transport=through,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
        )
        self._other_http = httpx.Client(timeout=self._http.timeout)

    def close(self) -> None:
        self._http.close()
        self._other_http.close()

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer's JSON object; {} for an answer without content."""
        response = self.request(method, path, **options)
        if not response.content:
            return {}
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise LikenessClientError(
                f"{method} {path} did not answer with a JSON object; is {self.base_url} a Likeness gateway?"
            )
        return value

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A whole answer with a 2xx status."""
        with self._translated(), self._http.stream(method, path, **options) as response:
            response.read()
            if not response.is_success:
                raise LikenessAPIError.from_response(response)
            return response

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer whose body is read by the caller while it arrives."""
        with self._translated(), self._http.stream(method, path, **options) as response:
            if not response.is_success:
                response.read()
                raise LikenessAPIError.from_response(response)
            yield response

    def put_elsewhere(self, url: str, content: Iterable[bytes], size_bytes: int) -> None:
        """Sends bytes to a URL that the gateway has given: its own, or another server's, which does not get the key."""
        options: dict[str, Any] = {"content": content, "headers": {"Content-Length": str(size_bytes)}}
        if url.startswith(f"{self.base_url}/"):
            self.request("PUT", url, **options)
            return
        with self._translated():
            response = self._other_http.put(url, **options)
        if not response.is_success:
            raise LikenessAPIError.from_response(response)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise LikenessConnectionError(f"{self.base_url} did not answer in time.") from error
        except httpx.TransportError as error:
            raise LikenessConnectionError(
                f"Cannot talk to {self.base_url}: {error}. Is it running? `likeness up` starts it."
            ) from error


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in values.items() if value is not None}
