"""Asks a stage for its health; for container health checks where nothing else speaks gRPC.

    python -m services.common.probe 127.0.0.1:50051 [likeness.v1.EncoderService]

Exit code 0 when it says SERVING. Without a service name the question is whether it is alive, with one whether its
model is loaded.
"""

from __future__ import annotations

import sys

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


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if is_serving(*sys.argv[1:]) else 1)
