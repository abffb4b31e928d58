"""Pictures of every kind, and files that only claim to be."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from services.common.decode import PictureFormat, decode_picture, encode_picture
from services.common.errors import LikenessError


def picture(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """Smooth colours, red top left, and no symmetry: every orientation of it looks different."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    blue, green = 255 * columns / width, 255 * rows / height
    red = 255 * np.clip(1.5 - rows / height - columns / width, 0, 1)
    return np.stack([blue, green, red], axis=2).astype(np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pillow(bgr: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(bgr[:, :, ::-1]))


def refusal(data: bytes) -> LikenessError:
    with pytest.raises(LikenessError) as raised:
        decode_picture(data, field="target")
    assert raised.value.field == "target"
    return raised.value


@pytest.mark.parametrize(("format", "tolerance"), [("png", 0), ("jpeg", 6), ("webp", 8)])
def test_what_was_encoded_is_decoded(format: PictureFormat, tolerance: int) -> None:
    original = picture()
    decoded = decode_picture(encode_picture(original, format, quality=98))
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - original).mean() <= tolerance


def test_bmp() -> None:
    assert np.array_equal(decode_picture(saved(pillow(picture()), "BMP")), picture())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_honoured(format: str, orientation: int) -> None:
    """Oracle: Pillow stores the turned pixels; undone by the tag they are the original again."""
    upright = picture()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Transpose that stores pixels so that the tag turns them back
    stored = pillow(upright) if orientation == 1 else pillow(upright).transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if format != "PNG" else {}
    decoded = decode_picture(saved(stored, format, exif=exif.tobytes(), **options))
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 8


def test_grey_palette_and_sixteen_bit() -> None:
    grey = np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))
    as_bgr = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(decode_picture(saved(Image.fromarray(grey), "PNG")), as_bgr)
    deep = cv2.imencode(".png", as_bgr.astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode_picture(deep), as_bgr)
    deep_grey = cv2.imencode(".png", grey.astype(np.uint16) * 257)[1].tobytes()
    assert np.array_equal(decode_picture(deep_grey), as_bgr)
    palette = Image.fromarray(grey).convert("P")
    assert np.abs(decode_picture(saved(palette, "PNG")).astype(int) - as_bgr).max() <= 1
    one_bit = Image.fromarray(grey).convert("1")
    assert set(np.unique(decode_picture(saved(one_bit, "PNG")))) <= {0, 255}


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparent_lies_over_white(format: str) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:] = (0, 0, 255, 255)
    decoded = decode_picture(saved(Image.fromarray(rgba), format, **({"lossless": True} if format == "WEBP" else {})))
    assert (decoded[:, :4] == 255).all()
    assert (decoded[:, 4:] == (255, 0, 0)).all()


def test_grey_with_alpha() -> None:
    image = Image.fromarray(np.full((8, 8), 100, np.uint8))
    image.putalpha(128)
    decoded = decode_picture(saved(image, "PNG"))
    assert np.abs(decoded.astype(int) - (100 * 128 + 255 * 127) // 255).max() <= 1


def test_cmyk_jpeg() -> None:
    decoded = decode_picture(saved(pillow(picture()).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - picture()).mean() < 12


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (3, 2), (41, 59)])
def test_odd_sizes(format: PictureFormat, height: int, width: int) -> None:
    original = np.full((height, width, 3), (30, 120, 200), np.uint8)
    decoded = decode_picture(encode_picture(original, format))
    assert decoded.shape == original.shape
    assert np.abs(decoded.astype(int) - original).max() <= 6


@pytest.mark.parametrize(("format", "tolerance"), [("PNG", 0), ("WEBP", 8)])
def test_of_an_animation_the_first_picture_counts(format: str, tolerance: int) -> None:
    first, second = picture(), 255 - picture()
    data = saved(pillow(first), format, save_all=True, append_images=[pillow(second)], duration=100, quality=95)
    assert np.abs(decode_picture(data).astype(int) - first).mean() <= tolerance


def test_sixteen_bit_with_alpha_lies_over_white() -> None:
    deep = np.zeros((6, 8, 4), np.uint16)
    deep[:, 4:] = (65535, 0, 0, 65535)
    decoded = decode_picture(cv2.imencode(".png", deep)[1].tobytes())
    assert (decoded[:, :4] == 255).all() and (decoded[:, 4:] == (255, 0, 0)).all()


def test_palette_with_transparent_colours() -> None:
    image = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (6, 2)))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 0, 0, 0])
    decoded = decode_picture(saved(image.convert("P"), "PNG", transparency=bytes([255, 255, 255, 0])))
    assert decoded.shape == (6, 8, 3) and (decoded[:, 3] == 255).all()


def test_a_caller_may_accept_fewer_pixels() -> None:
    data = encode_picture(picture(40, 60), "png")
    assert decode_picture(data, max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(LikenessError) as raised:
        decode_picture(data, max_pixels=2399)
    assert raised.value.reason == "MEDIA_TOO_LARGE"


def test_sixteen_bit_tiff_is_named() -> None:
    error = refusal(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint16))[1].tobytes())
    assert error.reason == "MEDIA_UNSUPPORTED" and "TIFF" in error.detail and "PNG" in error.detail


def _png_claiming(width: int, height: int) -> bytes:
    """A valid PNG header and end with next to nothing in between."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (16_385, 1), (2**31 - 1, 2**31 - 1)])
def test_gigantic_pictures_are_refused_by_their_header(width: int, height: int) -> None:
    error = refusal(_png_claiming(width, height))
    assert error.reason == "MEDIA_TOO_LARGE"
    assert f"{width} x {height}" in error.detail


def test_gigantic_jpeg_is_refused_by_its_header() -> None:
    data = bytearray(encode_picture(picture(), "jpeg"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    assert refusal(bytes(data)).reason == "MEDIA_TOO_LARGE"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_pictures_are_refused(format: PictureFormat, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode_picture(noise, format)
    assert refusal(data[: int(len(data) * share)]).reason == "MEDIA_UNREADABLE"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "MEDIA_EMPTY"),
        (b"no picture at all", "MEDIA_UNSUPPORTED"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"\x00\x00\x00\x18ftypavif" + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"GIF89a" + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"II*\x00" + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "MEDIA_UNSUPPORTED"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(100), "MEDIA_UNSUPPORTED"),
        (b"\x89PNG\r\n\x1a\n", "MEDIA_UNREADABLE"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "MEDIA_UNREADABLE"),
        (b"BM" + bytes(100), "MEDIA_UNREADABLE"),
        (_png_claiming(100, 100), "MEDIA_UNREADABLE"),
        (bytes(50 * 1024 * 1024 + 1), "MEDIA_TOO_LARGE"),
    ],
)
def test_files_that_are_none_are_refused(data: bytes, reason: str) -> None:
    assert refusal(data).reason == reason


def test_refusal_names_what_it_is() -> None:
    assert "HEIC" in refusal(b"\x00\x00\x00\x18ftypheic" + bytes(100)).detail


_SEEDS = {name: encode_picture(picture(), name) for name in ("png", "jpeg", "webp")}


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(_SEEDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_files_decode_or_are_refused_but_never_crash(name: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(_SEEDS[name])
    for position, value in changes:
        data[int(position * len(data))] = value
    try:
        decoded = decode_picture(bytes(data))
    except LikenessError as error:
        assert error.reason.startswith("MEDIA_")
    else:
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3
