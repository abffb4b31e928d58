"""A face stage in this process, and what its contract tests share: faces, pictures as messages, refusals."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc
from services.common.client import open_channel
from services.common.decode_picture import encode_picture
from services.common.server import StageServer
from services.faceswap.servicer import FaceSwapServicer
from services.faceswap.settings import FaceSwapSettings

TIMEOUT_S = 120.0


@contextmanager
def face_stage(settings: FaceSwapSettings, *, grants: str = "off") -> Iterator[tuple[Any, StageServer]]:
    """A stub, and the server behind it, which wants no grants (and then marks nothing) unless told otherwise."""
    settings = settings.model_copy(update={"grants": grants})
    server = StageServer(
        settings,
        service_name="FaceSwapService",
        servicer=FaceSwapServicer(settings),
        add_to_server=faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server,
        descriptor=faceswap_pb2.DESCRIPTOR,
    ).start()
    channel = open_channel(f"127.0.0.1:{server.port}")
    make_stub: Any = faceswap_pb2_grpc.FaceSwapServiceStub
    try:
        yield make_stub(channel), server
    finally:
        channel.close()
        server.drain()


def face_picture(package: str, file: str, rows: slice, columns: slice) -> np.ndarray:
    """A part of a picture inside an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    picture = cv2.imread(str(Path(spec.submodule_search_locations[0]) / file))
    assert picture is not None
    return np.ascontiguousarray(picture[rows, columns])


def a_woman() -> np.ndarray:
    return face_picture("skimage", "data/astronaut.png", slice(0, 260), slice(90, 350))


def a_man() -> np.ndarray:
    return face_picture("insightface", "data/images/t1.jpg", slice(200, 440), slice(400, 660))


def another_woman() -> np.ndarray:
    return face_picture("insightface", "data/images/t1.jpg", slice(20, 260), slice(810, 1050))


def inline(picture: np.ndarray) -> faceswap_pb2.Picture:
    return faceswap_pb2.Picture(encoded=encode_picture(picture, "png"))


def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and field of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return told(caught.value)


def told(error: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and field of a failure."""
    status: Any = rpc_status.from_call(error)
    assert status is not None, error
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return error.code(), info.reason, info.metadata["field"]
