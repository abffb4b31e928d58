"""A stage with nothing but a health service, for tests of the local stack. Its behaviour stands in TOY_BEHAVIOUR."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE = "toy.v1.ToyService"


def main() -> None:
    behaviour = os.environ.get("TOY_BEHAVIOUR", "good")
    print(f"toy server, behaviour {behaviour}")
    if behaviour == "dies_at_start":
        sys.exit("toy: the model file is missing")
    if behaviour == "never_ready":
        print("toy: loading for ever")
        time.sleep(600)

    server = grpc.server(futures.ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{os.environ['LIKENESS_PORT']}")
    ended = threading.Event()

    def on_term(number: int, frame: FrameType | None) -> None:
        print("toy: SIGTERM")
        if behaviour != "ignores_sigterm":
            ended.set()

    signal.signal(signal.SIGTERM, on_term)
    if behaviour == "has_child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(f"toy: child {child.pid}")
    server.start()
    if behaviour == "dies_when_ready":
        ended.wait(0.8)
        os._exit(3)
    ended.wait()
    server.stop(0.2).wait()


if __name__ == "__main__":
    main()
