"""The gRPC server that every stage runs in: health, reflection, metrics, admission, drain.

Life of a stage: the port opens and health `""` says SERVING (alive); `load()` reads and warms the model; then the
service's own health name says SERVING (ready). On SIGTERM both say NOT_SERVING, callers get `drain_wait_s` to notice,
new calls are refused, running ones get `drain_grace_s` to finish.

With `tls_dir` the port speaks mutual TLS alone, and health is also served at `health_port`, in plain text.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.common.admission import Admission
from services.common.errors import LikenessError
from services.common.grants import GrantVerifier
from services.common.interceptor import Gate, StageInterceptor
from services.common.keys import TRUSTED, KeysError
from services.common.logs import configure_logging
from services.common.metrics import MetricsServer, StageMetrics
from services.common.settings import StageSettings
from services.common.stopping import stop_signals, wait_until
from services.common.tls import TlsError, TlsFolder, server_credentials
from services.common.tracing import configure_tracing, stop_tracing

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
SPARE_THREADS: Final = 8  # for health, reflection and for telling callers that the queue is full
HEALTH_THREADS: Final = 2
HEALTH_MESSAGE_BYTES: Final = 4096
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_log = logging.getLogger(__name__)


class StageServicer(Protocol):
    """A gRPC servicer whose constructor is cheap and whose `load` reads and warms the model.

    It may have a `drain()` that ends long streams when the server is about to stop, and a `close()` that frees what
    `load` took.
    """

    def load(self) -> None: ...


def _server_options(settings: StageSettings) -> list[tuple[str, int]]:
    age_ms = int(settings.max_connection_age_s * 1000)
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_connection_age_ms", age_ms),
        # Of an aged connection running calls finish, however long they may take: the grace is without end by default.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.so_reuseport", 0),  # a second server on the same port fails instead of sharing it
    ]


def _health_server(servicer: health.HealthServicer, address: str) -> grpc.Server:
    """Health in plain text, and nothing else. Raises RuntimeError when the port is taken."""
    server = grpc.server(
        ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="health"),
        options=[("grpc.max_receive_message_length", HEALTH_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(address)
    return server


class StageServer:
    """A stage's server, in this process: `start`, `load`, and `drain` at the end.

    Raises KeysError when grants are required and there is no public key to verify them with, TlsError when the files of
    tls_dir cannot be used.

    Args:
        service_name: the service in its proto, with or without the package, such as "EncoderService".
        add_to_server: the generated `add_XServiceServicer_to_server`.
        descriptor: the generated module's DESCRIPTOR.

    Attributes:
        port: of gRPC, after `start`.
        metrics_port: of Prometheus, after `start`.
    """

    def __init__(
        self,
        settings: StageSettings,
        *,
        service_name: str,
        servicer: StageServicer,
        add_to_server: Callable[[Any, grpc.Server], None],
        descriptor: FileDescriptor,
    ) -> None:
        short_name = service_name.rpartition(".")[2]
        self.service = str(descriptor.services_by_name[short_name].full_name)
        self.stage = short_name.removesuffix("Service").lower()
        self.port = 0
        self.metrics_port = 0
        self._settings = settings
        self._tls = None if settings.tls_dir is None else TlsFolder(settings.tls_dir)
        self._servicer = servicer
        self._stage_metrics = StageMetrics(self.stage)
        self._metrics_server: MetricsServer | None = None
        self._gate = Gate()
        self._admission = Admission(
            max_concurrency=settings.max_concurrency,
            max_queue_size=settings.max_queue_size,
            metrics=self._stage_metrics,
        )
        if settings.grants == "off":
            _log.warning("grants are off: whoever reaches this port may use any voice and face")
        verifier = None if settings.grants == "off" else GrantVerifier(settings.resolved_keys_dir / TRUSTED)
        interceptor = StageInterceptor(self.service, self._admission, self._gate, settings.default_deadline_s, verifier)
        workers = settings.max_concurrency + settings.max_queue_size + SPARE_THREADS
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=f"{self.stage}-rpc")
        self._server = grpc.server(
            self._pool,
            interceptors=[interceptor],
            options=_server_options(settings),
        )
        self._health = health.HealthServicer(
            experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(1)
        )
        self._health.set(self.service, _NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._plain_health: grpc.Server | None = None
        add_to_server(servicer, self._server)
        names = (self.service, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self, *, load: bool = True) -> StageServer:
        """Opens the ports, and then loads the model unless told otherwise.

        Raises:
            RuntimeError: a port is taken.
            LikenessError: the model could not be loaded.
        """
        host = self._settings.host
        if self._tls is None:
            self.port = self._server.add_insecure_port(f"{host}:{self._settings.port}")
        else:
            self.port = self._server.add_secure_port(f"{host}:{self._settings.port}", server_credentials(self._tls))
            if self._settings.health_port:
                self._plain_health = _health_server(self._health, f"{host}:{self._settings.health_port}")
        self._metrics_server = MetricsServer(self._settings.metrics_host, self._settings.metrics_port)
        self.metrics_port = self._metrics_server.port
        self._health.set("", _SERVING)
        self._server.start()
        if self._plain_health is not None:
            self._plain_health.start()
        _log.info("listening", extra={"address": f"{host}:{self.port}", "metrics_port": self.metrics_port})
        if load:
            self.load()
        return self

    def load(self) -> None:
        """Loads the model and lets calls in."""
        started_s = time.monotonic()
        self._servicer.load()
        seconds = time.monotonic() - started_s
        self._stage_metrics.model_load_seconds.set(seconds)
        self._gate.open()
        self._health.set(self.service, _SERVING)
        _log.info("serving", extra={"load_seconds": round(seconds, 3)})

    def wait(self, timeout_s: float | None = None) -> None:
        """Blocks until the server has stopped."""
        self._server.wait_for_termination(timeout_s)

    def drain(self) -> bool:
        """Stops: NOT_SERVING, a moment for callers to notice, no new calls, running ones finish within the grace.

        Returns:
            Whether all running calls have finished.
        """
        _log.info("draining", extra={"running": self._admission.running})
        self._health.enter_graceful_shutdown()
        time.sleep(self._settings.drain_wait_s)
        self._gate.close("DRAINING", "The server is shutting down; try another one or try again in a moment.")
        end_streams = getattr(self._servicer, "drain", None)
        if end_streams is not None:
            end_streams()
        self._server.stop(self._settings.drain_grace_s).wait()
        deadline_s = time.monotonic() + 1.0  # cancelled calls notice at their next message
        while self._admission.running and time.monotonic() < deadline_s:
            time.sleep(0.01)
        finished = self._admission.running == 0
        if self._plain_health is not None:
            self._plain_health.stop(None)
        if self._metrics_server is not None:
            self._metrics_server.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        close = getattr(self._servicer, "close", None)
        if finished and close is not None:
            close()
        _log.info("stopped", extra={"finished_all": finished})
        return finished


def run_stage(
    settings: StageSettings,
    *,
    service_name: str,
    servicer: StageServicer,
    add_to_server: Callable[[Any, grpc.Server], None],
    descriptor: FileDescriptor,
) -> int:
    """Serves until SIGTERM or SIGINT; the arguments are those of `StageServer`.

    Returns:
        The exit code of the process: 0 after a drain, 1 when the ports or the model could not be had.
    """
    stop = stop_signals()
    stage = service_name.rpartition(".")[2].removesuffix("Service").lower()
    configure_logging(settings.log_level, settings.log_format, stage)
    configure_tracing(settings, stage)
    try:
        server = StageServer(
            settings, service_name=service_name, servicer=servicer, add_to_server=add_to_server, descriptor=descriptor
        )
    except TlsError as error:
        _log.error("cannot serve TLS: %s", error)
        return 1
    except KeysError as error:
        _log.error("cannot verify grants: %s", error)
        return 1
    try:
        server.start(load=False)
    except (RuntimeError, OSError) as error:
        _log.error("cannot listen: %s", error)
        return 1
    failed = threading.Event()

    def load() -> None:
        try:
            server.load()
        except LikenessError as error:
            _log.error("cannot load the model: %s", error.detail, extra={"reason": error.reason})
            failed.set()
        except KeysError as error:
            _log.error("cannot mark what is made: %s", error)
            failed.set()
        except Exception:
            _log.exception("cannot load the model")
            failed.set()
        if failed.is_set():
            stop.set()

    loader = threading.Thread(target=load, name="load", daemon=True)  # so that SIGTERM ends a long load at once
    loader.start()
    wait_until(stop)
    finished = server.drain()
    stop_tracing()
    code = 1 if failed.is_set() else 0
    if not finished or loader.is_alive():  # threads that Python would wait for at exit, possibly for ever
        _log.warning("leaving with work unfinished")
        logging.shutdown()
        os._exit(code)
    return code
