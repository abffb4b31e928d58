"""FaceSwapService over gRPC: pictures inline and by reference, what comes back, and the errors it tells."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from likeness.v1 import faceswap_pb2, faceswap_pb2_grpc, types_pb2
from services.common.client import open_channel
from services.common.decode import decode_picture, encode_picture
from services.common.server import StageServer
from services.common.store import ObjectStore, media_reference, open_store
from services.faceswap.servicer import FaceSwapServicer
from services.faceswap.settings import FaceSwapSettings

TIMEOUT_S = 120.0


def face_picture(package: str, file: str, rows: slice, columns: slice) -> np.ndarray:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    picture = cv2.imread(str(Path(spec.submodule_search_locations[0]) / file))
    assert picture is not None
    return np.ascontiguousarray(picture[rows, columns])


@pytest.fixture(scope="module")
def woman() -> np.ndarray:
    return face_picture("skimage", "data/astronaut.png", slice(0, 260), slice(90, 350))


@pytest.fixture(scope="module")
def man() -> np.ndarray:
    return face_picture("insightface", "data/images/t1.jpg", slice(200, 440), slice(400, 660))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FaceSwapSettings:
    return FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def store(settings: FaceSwapSettings) -> ObjectStore:
    return open_store(settings)


@pytest.fixture(scope="module")
def stub(settings: FaceSwapSettings) -> Iterator[Any]:
    server = StageServer(
        settings,
        service_name="FaceSwapService",
        servicer=FaceSwapServicer(settings),
        add_to_server=faceswap_pb2_grpc.add_FaceSwapServiceServicer_to_server,
        descriptor=faceswap_pb2.DESCRIPTOR,
    ).start()
    channel = open_channel(f"127.0.0.1:{server.port}", server.service)
    make_stub: Any = faceswap_pb2_grpc.FaceSwapServiceStub
    yield make_stub(channel)
    channel.close()
    server.drain()


def inline(picture: np.ndarray) -> faceswap_pb2.Picture:
    return faceswap_pb2.Picture(encoded=encode_picture(picture, "png"))


def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Code, reason and field of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    status: Any = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return caught.value.code(), info.reason, info.metadata["field"]


def test_faces_are_described(stub: Any, woman: np.ndarray) -> None:
    request = faceswap_pb2.DetectFacesRequest(picture=inline(woman), with_descriptors=True)
    response = stub.DetectFaces(request, timeout=TIMEOUT_S)
    assert (response.width_px, response.height_px) == (260, 260)
    (face,) = response.faces
    assert 0.5 <= face.score <= 1.0 and len(face.keypoints) == 6 and len(face.descriptor) == 128
    right_eye, left_eye, nose = face.keypoints[:3]
    assert right_eye.x < nose.x < left_eye.x and nose.y > right_eye.y
    assert face.box.left < right_eye.x < face.box.left + face.box.width
    plain = stub.DetectFaces(faceswap_pb2.DetectFacesRequest(picture=inline(woman)), timeout=TIMEOUT_S)
    assert len(plain.faces[0].descriptor) == 0


def test_a_picture_without_a_face_has_no_faces(stub: Any) -> None:
    request = faceswap_pb2.DetectFacesRequest(picture=inline(np.full((50, 60, 3), 120, np.uint8)))
    response = stub.DetectFaces(request, timeout=TIMEOUT_S)
    assert (response.width_px, response.height_px, len(response.faces)) == (60, 50, 0)


def test_a_swap_inline_returns_a_png_and_the_distances(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    request = faceswap_pb2.SwapPictureRequest(source=inline(woman), target=inline(man))
    response = stub.SwapPicture(request, timeout=TIMEOUT_S)
    assert response.result.encoded.startswith(b"\x89PNG")
    result = decode_picture(response.result.encoded)
    assert result.shape == man.shape == (response.height_px, response.width_px, 3)
    (face,) = response.faces
    assert 0.0 < face.distance_to_source < face.distance_to_target < 1.5
    assert (result[0] == man[0]).all() and (result != man).any()


def test_a_swap_by_reference_is_put_where_it_was_asked_for(
    stub: Any, store: ObjectStore, woman: np.ndarray, man: np.ndarray
) -> None:
    references = [
        media_reference(store, store.put(f"in/{name}.png", encode_picture(picture, "png"), "image/png"))
        for name, picture in (("woman", woman), ("man", man))
    ]
    source, target = (faceswap_pb2.Picture(media=reference) for reference in references)
    response = stub.SwapPicture(
        faceswap_pb2.SwapPictureRequest(
            source=source,
            target=target,
            options=faceswap_pb2.SwapOptions(format=faceswap_pb2.PICTURE_FORMAT_JPEG, shape_strength=0.5),
            destination=types_pb2.MediaReference(key="out/swap.jpg"),
        ),
        timeout=TIMEOUT_S,
    )
    media = response.result.media
    assert (media.key, media.content_type, media.bucket) == ("out/swap.jpg", "image/jpeg", store.bucket)
    stored = store.get("out/swap.jpg")
    assert len(stored) == media.size_bytes and decode_picture(stored).shape == man.shape


def test_a_reference_to_changed_content_is_refused(stub: Any, store: ObjectStore, woman: np.ndarray) -> None:
    reference = media_reference(store, store.put("in/changing.png", encode_picture(woman, "png"), "image/png"))
    store.put("in/changing.png", encode_picture(255 - woman, "png"), "image/png")
    request = faceswap_pb2.DetectFacesRequest(picture=faceswap_pb2.Picture(media=reference))
    code, reason, field = refusal(lambda: stub.DetectFaces(request, timeout=TIMEOUT_S))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEDIA_CHECKSUM_MISMATCH")
    assert field == "picture.media"


@pytest.mark.parametrize("field", ["source", "target"])
def test_the_picture_at_fault_is_named(stub: Any, woman: np.ndarray, field: str) -> None:
    def fails(bad: faceswap_pb2.Picture) -> tuple[grpc.StatusCode, str, str]:
        pictures = {"source": inline(woman), "target": inline(woman), field: bad}
        request = faceswap_pb2.SwapPictureRequest(**pictures)
        return refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert fails(inline(np.full((80, 80, 3), 99, np.uint8))) == (invalid, "FACE_NOT_FOUND", field)
    assert fails(faceswap_pb2.Picture()) == (invalid, "INVALID_FIELD", field)
    assert fails(faceswap_pb2.Picture(encoded=b"")) == (invalid, "MEDIA_EMPTY", field)
    assert fails(faceswap_pb2.Picture(encoded=b"GIF89a" + bytes(50))) == (invalid, "MEDIA_UNSUPPORTED", field)
    assert fails(faceswap_pb2.Picture(encoded=bytes(1024 * 1024 + 1))) == (invalid, "MEDIA_TOO_LARGE", field)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"shape_strength": 1.01}, "options.shape_strength"),
        ({"feather": 0.001}, "options.feather"),
        ({"selection": 77}, "options.selection"),
        ({"format": 99}, "options.format"),
    ],
)
def test_options_out_of_range_are_named(stub: Any, woman: np.ndarray, options: dict[str, Any], field: str) -> None:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(woman), target=inline(woman), options=faceswap_pb2.SwapOptions(**options)
    )
    code, reason, named = refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))
    assert (code, reason, named) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


def test_a_foreign_bucket_is_refused(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(woman),
        target=inline(man),
        destination=types_pb2.MediaReference(bucket="elsewhere", key="out/x.png"),
    )
    assert refusal(lambda: stub.SwapPicture(request, timeout=TIMEOUT_S))[1:] == ("INVALID_FIELD", "destination.bucket")


def test_the_largest_face_by_default_and_all_when_asked(stub: Any, woman: np.ndarray, man: np.ndarray) -> None:
    two = np.full((260, 520, 3), 128, np.uint8)
    two[:240, :260], two[:, 260:] = man, woman
    counts = {}
    for selection in (faceswap_pb2.FACE_SELECTION_UNSPECIFIED, faceswap_pb2.FACE_SELECTION_ALL):
        request = faceswap_pb2.SwapPictureRequest(
            source=inline(woman), target=inline(two), options=faceswap_pb2.SwapOptions(selection=selection)
        )
        counts[selection] = len(stub.SwapPicture(request, timeout=TIMEOUT_S).faces)
    assert counts == {faceswap_pb2.FACE_SELECTION_UNSPECIFIED: 1, faceswap_pb2.FACE_SELECTION_ALL: 2}
