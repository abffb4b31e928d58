"""A replica of the face stage that takes a fixed time for each call.

    python -m benchmarks.scale_replica HOST PORT METRICS_PORT SECONDS MAX_CONNECTION_AGE_S CONCURRENCY

The server around it, with its queue, health, metrics and drain, is the one that every stage has. Work is sleep, so that
many replicas fit on one machine and nothing but the way to them is measured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc
from services.common.server import run_stage
from services.common.settings import StageSettings


class FixedTimeFaces(faceswap_pb2_grpc.FaceSwapServiceServicer):
    """Finds no faces, and swaps none, in `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def load(self) -> None:
        return None

    def DetectFaces(self, request: Any, context: Any) -> faceswap_pb2.DetectFacesResponse:
        time.sleep(self._seconds)
        return faceswap_pb2.DetectFacesResponse()

    def SwapSegment(self, request: Any, context: Any) -> Iterator[faceswap_pb2.SwapSegmentResponse]:
        """As many messages as a segment of a second has, and one with the result."""
        for frame in range(10):
            time.sleep(self._seconds / 10)
            yield faceswap_pb2.SwapSegmentResponse(progress=faceswap_pb2.SegmentProgress(frames_done=frame))


def main(host: str, port: str, metrics_port: str, seconds: str, max_connection_age_s: str, concurrency: str) -> int:
    settings = StageSettings(
        grants="off",
        host=host,
        port=int(port),
        metrics_host=host,
        metrics_port=int(metrics_port),
        max_concurrency=int(concurrency),
        max_queue_size=64,
        max_connection_age_s=float(max_connection_age_s),
        drain_wait_s=2.0,
        drain_grace_s=10.0,
        log_level="warning",
    )
    return run_stage(
        settings,
        service_name="likeness.v1.FaceSwapService",
        servicer=FixedTimeFaces(float(seconds)),
        add_to_server=faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server,
        descriptor=faceswap_pb2.DESCRIPTOR,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
