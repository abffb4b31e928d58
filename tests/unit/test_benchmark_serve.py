"""The load generator counts what it was answered, keeps connections, and sends when it is time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.serve_load import closed_loop, http_request, open_loop, percentile


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, format: str, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path == "/busy":
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"busy")
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")
        elif self.path == "/last":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
        elif self.path == "/broken":
            self.close_connection = True
        else:
            self.send_response(204)
            self.end_headers()

    do_POST = do_GET


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.mark.parametrize(("path", "status"), [("/", 204), ("/busy", 429), ("/chunks", 200)])
def test_connections_are_kept_and_answers_told_apart(server: Server, path: str, status: int) -> None:
    answers = closed_loop(server.port, lambda: http_request("GET", path), connections=3, seconds=0.3)
    assert len(answers) > 6
    assert {answer.status for answer in answers} == {status}
    assert {answer.has_retry_after for answer in answers} == {status == 429}
    assert server.connections == 3
    assert all(answer.seconds > 0 for answer in answers)


def test_bodies_are_sent_whole(server: Server) -> None:
    closed_loop(server.port, lambda: http_request("POST", "/", b"hello"), connections=1, seconds=0.1)
    assert set(server.bodies) == {b"hello"}


def test_closed_connections_are_opened_again_and_broken_ones_counted(server: Server) -> None:
    answers = closed_loop(server.port, lambda: http_request("GET", "/last"), connections=1, seconds=0.2)
    assert {answer.status for answer in answers} == {200}
    assert server.connections == len(answers)
    broken = closed_loop(server.port, lambda: http_request("GET", "/broken"), connections=1, seconds=0.1)
    assert {answer.status for answer in broken} == {0}


def test_open_loop_sends_at_its_rate_whatever_comes_back(server: Server) -> None:
    answers = open_loop(server.port, http_request("GET", "/busy"), rate_hz=200, seconds=1.0, seed=6)
    assert 150 < len(answers) < 250
    assert {answer.status for answer in answers} == {429}
    again = open_loop(server.port, http_request("GET", "/busy"), rate_hz=200, seconds=1.0, seed=6)
    assert len(again) == len(answers), "the same seed, the same load"


def test_percentiles() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 51.0, 96.0, 100.0]
    assert percentile([], 0.5) != percentile([], 0.5)
