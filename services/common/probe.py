"""Asks a stage for its health; for container health checks where nothing else speaks gRPC.

    python -m services.common.probe 127.0.0.1:50051 [likeness.v1.EncoderService]

Exit code 0 when it says SERVING. Without a service name the question is whether it is alive, with one whether its
model is loaded. Where LIKENESS_TLS_DIR is set, it goes to the port of LIKENESS_HEALTH_PORT, which speaks no TLS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def is_serving(target: str, service: str = "", *, timeout_s: float = 3.0) -> bool:
    """Whether the server at `host:port` answers SERVING for the service."""
    with grpc.insecure_channel(target) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=timeout_s
            )
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


def plain_target(target: str, environment: Mapping[str, str]) -> str:
    """Where the stage with these variables, whose gRPC is at `host:port`, tells its health in plain text."""
    if not environment.get("LIKENESS_TLS_DIR"):
        return target
    return f"{target.rpartition(':')[0]}:{environment.get('LIKENESS_HEALTH_PORT', '0')}"


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if is_serving(plain_target(sys.argv[1], os.environ), *sys.argv[2:]) else 1)
