"""Uploaded files: kept on disk while their request lasts, and what kind they are by their first bytes."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from services.common.errors import LikenessError
from services.common.picture_header import picture_kind

SNIFFED_BYTES: Final = 64
IN_MEMORY_BYTES: Final = 1024 * 1024
_PICTURES: Final = ("png", "jpeg", "webp", "bmp")
_QUICKTIME_ATOMS: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # files older than `ftyp`
_STILL_BRANDS: Final = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis", b"avif")
_EBML: Final = b"\x1a\x45\xdf\xa3"
_ANIMATED_WEBP: Final = 0x02  # flag of the VP8X chunk


def open_spool(folder: Path, size_bytes: int | None) -> IO[bytes]:
    """Where a part of a request is kept until the request ends: in memory when small, else a file in `folder`."""
    if size_bytes is not None and size_bytes <= IN_MEMORY_BYTES:
        return io.BytesIO()
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, prefix="upload-")


def clear_spool(folder: Path) -> None:
    """Removes what a killed process left there."""
    for path in folder.glob("*"):
        if path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def file_of(upload: IO[bytes], folder: Path) -> Iterator[Path]:
    """A path at which the uploaded file can be read during the block."""
    upload.flush()
    name: Any = getattr(upload, "name", None)
    if isinstance(name, str):
        yield Path(name)
        return
    upload.seek(0)
    with open_spool(folder, None) as copy:
        copy.write(upload.read())
        copy.flush()
        yield Path(copy.name)


def first_bytes(upload: IO[bytes]) -> bytes:
    """What the kind of a file is told by; the upload is at its beginning again afterwards."""
    upload.seek(0)
    head = upload.read(SNIFFED_BYTES)
    upload.seek(0)
    return head


def picture_content_type(data: bytes, *, field: str) -> str:
    """The content type by the first bytes. Whether the rest is sound the stage finds out, apart from this process.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_UNSUPPORTED.
    """
    if not data:
        raise LikenessError("MEDIA_EMPTY", "The file has no content; a picture was expected.", field=field)
    kind = picture_kind(data)
    if kind not in _PICTURES:
        found = kind or "an unknown kind of file"
        detail = f"This is no picture that can be read: {found}. Supported are PNG, JPEG, WebP and BMP."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    return f"image/{kind}"


def film_content_type(head: bytes) -> str | None:
    """The content type of a film or an animation by its first bytes (`SNIFFED_BYTES`), None for anything else.

    Whether it is animated a GIF does not tell at its beginning, so that every GIF counts.
    """
    if head[4:8] == b"ftyp" and head[8:12] not in _STILL_BRANDS:
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head[4:8] in _QUICKTIME_ATOMS:
        return "video/quicktime"
    if head.startswith(_EBML):
        return "video/webm" if b"webm" in head else "video/x-matroska"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    is_webp = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20
    return "image/webp" if is_webp and head[20] & _ANIMATED_WEBP else None
