"""Size, orientation and completeness of a picture from its first bytes, before any decoder sees it.

PNG, JPEG, WebP and BMP. It reads headers only: that the pixels are sound, the decoder has to find out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

ContainerName = Literal["png", "jpeg", "webp", "bmp"]
_ORIENTATION_TAG: Final = 0x0112
_HEIF_BRANDS: Final = frozenset((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"))


@dataclass(frozen=True)
class PictureHeader:
    """Width and height are those of the stored pixels, before `orientation` (EXIF 1 to 8) turns them upright."""

    container: ContainerName
    width_px: int
    height_px: int
    orientation: int
    complete: bool


def picture_kind(data: bytes) -> str | None:
    """Name of a picture format by its first bytes: one of `ContainerName`, or a known one that we do not decode."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis"):
        return "AVIF"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "TIFF"
    return next(
        (name for magic, name in ((b"GIF8", "GIF"), (b"BM", "bmp"), (b"%PDF", "PDF")) if data[:4].startswith(magic)),
        None,
    )


def read_header(data: bytes) -> PictureHeader | None:
    """The header of a PNG, JPEG, WebP or BMP; None when it is none of them or too damaged to tell its size."""
    readers = {"png": _read_png, "jpeg": _read_jpeg, "webp": _read_webp, "bmp": _read_bmp}
    reader = readers.get(picture_kind(data) or "")
    try:
        return reader(data) if reader else None
    except (struct.error, IndexError):
        return None


def exif_orientation(tiff: bytes) -> int:
    """Orientation 1 to 8 of an EXIF block (TIFF structure); 1 when it has none or is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for entry in range(offset + 2, offset + 2 + 12 * min(count, 256), 12):
            tag, kind = struct.unpack_from(order + "HH", tiff, entry)
            if tag == _ORIENTATION_TAG and kind == 3:
                (value,) = struct.unpack_from(order + "H", tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _read_png(data: bytes) -> PictureHeader:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, complete, position = 1, False, 8
    while position + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        if name == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + size])
        if name == b"IEND":
            complete = position + 12 <= len(data)
            break
        position += 12 + size
    return PictureHeader("png", width, height, orientation, complete)


def _read_jpeg(data: bytes) -> PictureHeader | None:
    """Walks the segments up to the first scan (ITU T.81, annex B)."""
    position, orientation, size = 2, 1, None
    while True:
        while data[position] == 0xFF and data[position + 1] == 0xFF:  # fill bytes
            position += 1
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = position + 4
        if marker == 0xE1 and data[body : body + 6] == b"Exif\x00\x00":
            orientation = exif_orientation(data[body + 6 : position + 2 + length])
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, body + 1)
            size = (width, height)
        elif marker == 0xDA:
            if size is None:
                return None
            complete = data.find(b"\xff\xd9", body) >= 0
            return PictureHeader("jpeg", size[0], size[1], orientation, complete)
        position += 2 + length


def _read_webp(data: bytes) -> PictureHeader | None:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    complete = riff_size + 8 <= len(data)
    orientation, position = 1, 12
    size: tuple[int, int] | None = None
    while position + 8 <= len(data):
        name = data[position : position + 4]
        (length,) = struct.unpack_from("<I", data, position + 4)
        body = position + 8
        if name == b"VP8X":
            width = int.from_bytes(data[body + 4 : body + 7], "little") + 1
            size = (width, int.from_bytes(data[body + 7 : body + 10], "little") + 1)
        elif name == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = (width & 0x3FFF, height & 0x3FFF)
        elif name == b"VP8L" and size is None:
            (bits,) = struct.unpack_from("<I", data, body + 1)
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif name == b"EXIF":
            block = data[body : body + length]
            orientation = exif_orientation(block.removeprefix(b"Exif\x00\x00"))
        position = body + length + length % 2
    return PictureHeader("webp", size[0], size[1], orientation, complete) if size else None


def _read_bmp(data: bytes) -> PictureHeader:
    pixel_offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    expected = pixel_offset + (abs(width) * bits + 31) // 32 * 4 * abs(height) if compression in (0, 3) else 0
    return PictureHeader("bmp", abs(width), abs(height), 1, len(data) >= expected)
