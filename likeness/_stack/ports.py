"""Which ports the stack's servers take."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

DEFAULT_HTTP_PORT: Final = 8000
DEFAULT_STAGE_PORTS: Final = {"encoder": 50051, "synthesizer": 50052, "vocoder": 50053, "faceswap": 50054}
DEFAULT_METRICS_PORTS: Final = {"encoder": 9101, "synthesizer": 9102, "vocoder": 9103, "faceswap": 9104, "worker": 9105}


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen there now.

    SO_REUSEADDR lets ports of connections just closed count as free, as servers do. SO_REUSEPORT is left off on
    purpose: with it, two gRPC servers would share a port and each get half of the calls.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that the system calls free, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) for _ in range(count)]
        for one in sockets:
            one.bind((host, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def choose_ports(preferred: dict[str, int], *, prefer: bool) -> dict[str, int]:
    """The preferred port of each name while it is free, another free one where it is not (or `prefer` is false)."""
    taken = [name for name, port in preferred.items() if not (prefer and port_is_free(port))]
    return preferred | dict(zip(taken, free_ports(len(taken)), strict=True))
