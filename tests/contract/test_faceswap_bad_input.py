"""Whatever picture comes in, over gRPC: a right result, or an error that names the field. Never a crash."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import cv2
import grpc
import numpy as np
import pytest
from PIL import Image

from likeness.v1 import faceswap_pb2
from services.common.decode_picture import decode_picture
from services.faceswap.settings import FaceSwapSettings
from tests.contract.face_stage import TIMEOUT_S, a_man, a_woman, face_stage, inline, refusal


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    data_dir = tmp_path_factory.mktemp("data")
    with face_stage(FaceSwapSettings(port=0, metrics_port=0, drain_wait_s=0.0, data_dir=data_dir)) as (stub, _):
        yield stub


def man() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(a_man()[:, :, ::-1]))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opencv(picture: np.ndarray, extension: str) -> bytes:
    return bytes(cv2.imencode(extension, picture)[1])


def grey() -> np.ndarray:
    return np.asarray(cv2.cvtColor(a_man(), cv2.COLOR_BGR2GRAY))


def with_alpha(image: Image.Image) -> Image.Image:
    """Seen through at the border, solid in the middle."""
    alpha = np.zeros((image.height, image.width), np.uint8)
    alpha[20:-20, 20:-20] = 255
    image.putalpha(Image.fromarray(alpha))
    return image


def oriented(orientation: int) -> bytes:
    """Stored so that its EXIF orientation turns it upright."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = man() if orientation == 1 else man().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, "JPEG", quality=95, exif=exif.tobytes())


READ: Final[dict[str, Callable[[], bytes]]] = {
    "jpeg": lambda: saved(man(), "JPEG", quality=92),
    "progressive jpeg": lambda: saved(man(), "JPEG", quality=92, progressive=True),
    "webp": lambda: saved(man(), "WEBP", quality=92),
    "bmp": lambda: saved(man(), "BMP"),
    "grey png": lambda: opencv(grey(), ".png"),
    "grey jpeg": lambda: opencv(grey(), ".jpg"),
    "grey with alpha": lambda: saved(with_alpha(man().convert("L")), "PNG"),
    "alpha": lambda: saved(with_alpha(man()), "PNG"),
    "webp with alpha": lambda: saved(with_alpha(man()), "WEBP", quality=95),
    "palette": lambda: saved(man().quantize(256), "PNG"),
    "palette with alpha": lambda: saved(man().quantize(128), "PNG", transparency=bytes([255] * 128)),
    "16 bit": lambda: opencv(a_man().astype(np.uint16) * 257, ".png"),
    "16 bit grey": lambda: opencv(grey().astype(np.uint16) * 257, ".png"),
    "cmyk jpeg": lambda: saved(man().convert("CMYK"), "JPEG", quality=95),
    "odd size": lambda: opencv(np.ascontiguousarray(a_man()[:239, :257]), ".png"),
    "animated png": lambda: saved(man(), "PNG", save_all=True, append_images=[man().rotate(90)]),
    "animated webp": lambda: saved(man(), "WEBP", save_all=True, append_images=[man().rotate(90)], quality=95),
    **{f"orientation {n}": (lambda n=n: oriented(n)) for n in range(1, 9)},  # type: ignore[misc]
}


@pytest.mark.parametrize("kind", READ)
def test_a_picture_of_any_kind_is_read_upright_and_swapped(stub: Any, kind: str) -> None:
    """The face lies where it lies in the plain picture, and is replaced there."""
    data = READ[kind]()
    target = faceswap_pb2.Picture(encoded=data)
    request = faceswap_pb2.SwapPictureRequest(
        source=inline(a_woman()), target=target, options=faceswap_pb2.SwapOptions(skip_distances=True)
    )
    response = stub.SwapPicture(request, timeout=TIMEOUT_S)
    (face,) = response.faces
    middle = (face.target.box.left + face.target.box.width / 2, face.target.box.top + face.target.box.height / 2)
    assert middle == pytest.approx((121, 148), abs=6)
    result, original = decode_picture(response.result.encoded), decode_picture(data)
    assert result.shape == original.shape
    changed = (result != original).any(axis=2)
    assert changed[110:180, 90:150].mean() > 0.5 and not changed[:8].any()


def test_such_pictures_serve_as_sources_too(stub: Any) -> None:
    for kind in ("grey with alpha", "16 bit", "cmyk jpeg", "animated webp", "orientation 6"):
        request = faceswap_pb2.SwapPictureRequest(
            source=faceswap_pb2.Picture(encoded=READ[kind]()),
            target=inline(a_woman()),
            options=faceswap_pb2.SwapOptions(skip_distances=True),
        )
        assert len(stub.SwapPicture(request, timeout=TIMEOUT_S).faces) == 1


def png_claiming(width: int, height: int) -> bytes:
    """A header and next to nothing else."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiny() -> np.ndarray:
    canvas = np.full((120, 120, 3), 140, np.uint8)
    canvas[30:80, 30:80] = cv2.resize(a_woman(), (50, 50), interpolation=cv2.INTER_AREA)
    return canvas


REFUSED: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "nothing": (lambda: b"", "MEDIA_EMPTY"),
    "text": (lambda: b"this is no picture, but long enough to be one", "MEDIA_UNSUPPORTED"),
    "heic": (lambda: b"\x00\x00\x00\x18ftypheic" + bytes(200), "MEDIA_UNSUPPORTED"),
    "avif": (lambda: b"\x00\x00\x00\x1cftypavif" + bytes(200), "MEDIA_UNSUPPORTED"),
    "gif": (lambda: saved(man(), "GIF"), "MEDIA_UNSUPPORTED"),
    "16 bit tiff": (lambda: opencv(a_man().astype(np.uint16) * 257, ".tiff"), "MEDIA_UNSUPPORTED"),
    "cut off": (lambda: saved(man(), "PNG")[:20_000], "MEDIA_UNREADABLE"),
    "cut jpeg": (lambda: saved(man(), "JPEG")[:3_000], "MEDIA_UNREADABLE"),
    "damaged": (lambda: png_claiming(300, 300), "MEDIA_UNREADABLE"),
    "20,000 pixels": (lambda: png_claiming(20_000, 20_000), "MEDIA_TOO_LARGE"),
    "20,000 by 1": (lambda: png_claiming(20_000, 1), "MEDIA_TOO_LARGE"),
    "no width": (lambda: png_claiming(0, 100), "MEDIA_UNREADABLE"),
    "one pixel": (lambda: opencv(np.zeros((1, 1, 3), np.uint8), ".png"), "FACE_NOT_FOUND"),
    "one row": (lambda: opencv(np.full((1, 900, 3), 200, np.uint8), ".png"), "FACE_NOT_FOUND"),
    "one column": (lambda: opencv(np.full((900, 1, 3), 200, np.uint8), ".png"), "FACE_NOT_FOUND"),
    "all seen through": (lambda: saved(Image.new("RGBA", (90, 90)), "PNG"), "FACE_NOT_FOUND"),
    "a tiny face": (lambda: opencv(tiny(), ".png"), "FACE_TOO_SMALL"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_refused_by_name(stub: Any, kind: str) -> None:
    make, reason = REFUSED[kind]
    bad, good = faceswap_pb2.Picture(encoded=make()), inline(a_man())
    for field in ("source", "target"):
        pictures: dict[str, Any] = {"source": good, "target": good, field: bad}
        request = faceswap_pb2.SwapPictureRequest(**pictures)
        told = refusal(lambda request=request: stub.SwapPicture(request, timeout=TIMEOUT_S))
        assert told == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)
