"""Replicas of a stage on addresses 127.0.0.x behind one name, as pods behind a headless Service."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from services.common.probe import is_serving

NAME: Final = "likeness-faceswap.media.svc.cluster.local"
SERVICE: Final = "likeness.v1.FaceSwapService"
PORT: Final = 50954
METRICS_PORT: Final = 9954
START_TIMEOUT_S: Final = 60.0
_FINISHED: Final = re.compile(r'^likeness_requests_total\{code="OK",method="(\w+)"\} (\S+)$', re.MULTILINE)


class Names:
    """A name server on loopback that answers one name with the addresses of the moment, as a cluster's DNS does."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._serve, name="names", daemon=True).start()

    @property
    def target(self) -> str:
        """For a gRPC channel: this name, asked of this server."""
        return f"dns://127.0.0.1:{self.port}/{NAME}:{PORT}"

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                data, peer = self._socket.recvfrom(4096)
                self._socket.sendto(self._answer(data), peer)

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.AA
        question = query.question[0]
        asked = question.name.to_text(omit_final_dot=True) == NAME and question.rdtype == dns.rdatatype.A
        if asked and self.addresses:
            reply.answer.append(dns.rrset.from_text(question.name, 1, "IN", "A", *self.addresses))
        return reply.to_wire()


@dataclass
class Replica:
    """A running server and where it listens."""

    address: str
    process: subprocess.Popen[bytes]

    def finished(self, method: str = "DetectFaces") -> int:
        """Calls that it has answered, as it tells Prometheus."""
        with urllib.request.urlopen(f"http://{self.address}:{METRICS_PORT}/metrics", timeout=5) as page:  # noqa: S310
            counts = dict(_FINISHED.findall(page.read().decode()))
        return int(float(counts.get(method, 0)))


class Fleet:
    """Replicas that take `seconds` for a call, and so many calls at a time."""

    def __init__(self, seconds: float, max_connection_age_s: float, concurrency: int = 1) -> None:
        self.names = Names()
        self.replicas: list[Replica] = []
        self._arguments = (str(seconds), str(max_connection_age_s), str(concurrency))
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for replica in self.replicas:
            replica.process.kill()
        for replica in self.replicas:
            replica.process.wait()
        self.names.close()

    def start(self, count: int) -> list[Replica]:
        """Starts so many more; they are ready, and not yet behind the name.

        Raises:
            RuntimeError: one did not become ready.
        """
        begun = []
        for _ in range(count):
            self._started += 1
            address = f"127.0.0.{10 + self._started}"
            command = [sys.executable, "-m", "benchmarks.scale_replica", address, str(PORT), str(METRICS_PORT)]
            begun.append(Replica(address, subprocess.Popen([*command, *self._arguments])))
        self.replicas += begun
        deadline_s = time.monotonic() + START_TIMEOUT_S
        for replica in begun:
            while not is_serving(f"{replica.address}:{PORT}", SERVICE):
                if replica.process.poll() is not None or time.monotonic() > deadline_s:
                    raise RuntimeError(f"the replica at {replica.address} does not serve")
                time.sleep(0.1)
        return begun

    def publish(self, replicas: list[Replica]) -> None:
        """From now on the name stands for these."""
        self.names.addresses = [replica.address for replica in replicas]

    def finished(self, method: str = "DetectFaces") -> dict[str, int]:
        """Answered calls by address, of the replicas that live."""
        living: list[Any] = [replica for replica in self.replicas if replica.process.poll() is None]
        return {replica.address: replica.finished(method) for replica in living}
