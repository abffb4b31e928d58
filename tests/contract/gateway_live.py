"""A caller of live swaps, and frames for it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import cv2
import numpy as np
import pytest
import simple_websocket

from services.gateway.live_wire import FrameHeader, pack_frame, unpack_frame
from tests.contract.gateway_process import GatewayProcess
from tests.waiting import PATIENCE_S


class Caller:
    """The other end of the socket."""

    def __init__(self, gateway: GatewayProcess, setup: Any = None, **headers: str) -> None:
        url = gateway.url.replace("http", "ws") + "/v1/swaps/live"
        self.ws: Any = simple_websocket.Client(url, headers=headers)
        if setup is not None:
            with suppress(simple_websocket.ConnectionClosed):  # refused already, which the test reads
                self.ws.send(setup if isinstance(setup, (bytes, str)) else json.dumps({"type": "setup", **setup}))

    def text(self) -> Any:
        return json.loads(self.ws.receive(timeout=PATIENCE_S))

    def frame(self) -> Any:
        message = self.ws.receive(timeout=PATIENCE_S)
        assert isinstance(message, bytes), message
        return unpack_frame(message)

    def send(self, number: int, encoded: bytes) -> None:
        self.ws.send(pack_frame(FrameHeader(id=number), encoded))

    def closed(self) -> int:
        with pytest.raises(simple_websocket.ConnectionClosed) as told:
            while True:
                self.ws.receive(timeout=PATIENCE_S)
        return int(told.value.reason)


def jpeg(brightness: int, side_px: int = 64) -> bytes:
    picture = np.full((side_px, side_px, 3), brightness, np.uint8)
    return cv2.imencode(".jpg", picture)[1].tobytes()
