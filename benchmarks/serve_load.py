"""A light load generator: one process, one thread, plain sockets. HTTP/1.1 with keep-alive, as much of it as it needs.

`closed_loop` keeps a number of connections busy; `open_loop` sends at times that do not depend on the answers, as users
do, which is what shows how a server behaves when there is too much.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Request = bytes


@dataclass(frozen=True)
class Answer:
    """Status (0: the connection broke), seconds from the time at which it was to be sent, and whether Retry-After was
    there."""

    status: int
    seconds: float
    has_retry_after: bool = False


def http_request(method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> Request:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if body:
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class _Connection:
    """One connection, opened when first used and again after it broke."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request, due_at: float) -> Answer:
        for attempt in (1, 2):  # a server may close a connection just when it is used again
            fresh = self._streams is None
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_connection(*self._where, limit=2**20)
                status, retry_after = await self._exchange(*self._streams, request)
                return Answer(status, time.perf_counter() - due_at, retry_after)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.close()
                if fresh or attempt == 2:
                    break
        return Answer(0, time.perf_counter() - due_at)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> tuple[int, bool]:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readline()
        else:
            start = head.find(b"content-length:")
            if start >= 0:
                await reader.readexactly(int(head[start + 15 : head.index(b"\r", start)]))
        if b"connection: close" in head:
            self.close()
        return status, b"\r\nretry-after:" in head

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def closed_loop(port: int, pick: Callable[[], Request], *, connections: int, seconds: float) -> list[Answer]:
    """Each connection asks again as soon as it is answered."""

    async def run() -> list[Answer]:
        answers: list[Answer] = []
        end_at = time.perf_counter() + seconds

        async def keep_asking() -> None:
            connection = _Connection("127.0.0.1", port)
            while time.perf_counter() < end_at:
                answers.append(await connection.ask(pick(), time.perf_counter()))
            connection.close()

        await asyncio.gather(*(keep_asking() for _ in range(connections)))
        return answers

    return asyncio.run(run())


def open_loop(port: int, request: Request, *, rate_hz: float, seconds: float, seed: int) -> list[Answer]:
    """Requests at random times (Poisson) of that mean rate, each on a connection that is free, or on a new one."""

    async def run() -> list[Answer]:
        rng = random.Random(seed)
        free: list[_Connection] = []
        asking: set[asyncio.Task[Answer]] = set()
        answers: list[Answer] = []

        async def ask(due_at: float) -> Answer:
            connection = free.pop() if free else _Connection("127.0.0.1", port)
            answer = await connection.ask(request, due_at)
            free.append(connection)
            return answer

        began_at = time.perf_counter()
        due_at = began_at
        while (due_at := due_at + rng.expovariate(rate_hz)) < began_at + seconds:
            pause_s = due_at - time.perf_counter()
            if pause_s > 0:
                await asyncio.sleep(pause_s)
            task = asyncio.create_task(ask(due_at))
            asking.add(task)
            task.add_done_callback(asking.discard)
            task.add_done_callback(lambda done: answers.append(done.result()))
        await asyncio.gather(*asking)
        await asyncio.sleep(0)
        for connection in free:
            connection.close()
        return answers

    return asyncio.run(run())


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value below or at which that share of all lies; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
