"""A local HTTP server that answers as told and remembers what it was asked; for tests of client and command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    truncated: bool = False  # promises more than it sends


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode())


def problem(status: int, title: str, detail: str, reason: str, retry_after: str | None = None) -> Answer:
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "req-1"}
    if retry_after:
        headers["Retry-After"] = retry_after
    body = {
        "type": "/problems/x",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
        "field": "voice",
    }
    return Answer(status, json.dumps(body).encode(), headers)


class ScriptedGateway:
    """`answers` maps "METHOD /path" (with the query) to what is answered; anything else is a 404 problem.

    Of a list the next one is answered each time, and the last one from then on.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[Asked] = []
        self.url = ""


@contextmanager
def scripted_gateway() -> Iterator[ScriptedGateway]:
    gateway = ScriptedGateway()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            gateway.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            missing = problem(404, "There is no such object", f"no {self.command} {self.path}", "NOT_FOUND")
            answer = gateway.answers.get(f"{self.command} {self.path}", missing)
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + (10 if answer.truncated else 0)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
