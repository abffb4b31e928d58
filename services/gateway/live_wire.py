"""Messages of a live swap's WebSocket: a frame is the length of its header (4 bytes, big-endian), the header as JSON,
and an encoded picture. Both directions are alike."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import LikenessError

MAX_PICTURE_BYTES: Final = 1024 * 1024
MAX_HEADER_BYTES: Final = 1000
MAX_MESSAGE_BYTES: Final = 4 + MAX_HEADER_BYTES + MAX_PICTURE_BYTES
Outcome = Literal["swapped", "unchanged", "dropped", "unreadable"]
_LENGTH: Final = struct.Struct(">I")


class FrameHeader(BaseModel):
    """What is said of a frame. The caller gives its id, ascending; all else is the answer's.

    `latency_ms` is from the frame's arrival at the stage until its answer was ready.
    """

    model_config = ConfigDict(frozen=True)

    id: int = Field(ge=0, lt=2**53)
    outcome: Outcome | None = None
    faces: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Frame:
    """A header and a picture, which is empty where the frame was not changed."""

    header: FrameHeader
    encoded: bytes


def pack_frame(header: FrameHeader, encoded: bytes) -> bytes:
    text = header.model_dump_json(exclude_none=True).encode()
    return _LENGTH.pack(len(text)) + text + encoded


def unpack_frame(message: bytes | str) -> Frame:
    """Raises LikenessError REQUEST_MALFORMED for anything but a frame, MEDIA_TOO_LARGE for a picture above 1 MiB."""
    if isinstance(message, str) or len(message) < _LENGTH.size:
        raise LikenessError("REQUEST_MALFORMED", "A frame was expected: header length, header, picture.")
    (length,) = _LENGTH.unpack_from(message)
    start = _LENGTH.size + length
    if length > MAX_HEADER_BYTES or start > len(message):
        raise LikenessError("REQUEST_MALFORMED", f"The header of a frame has {length} bytes; that cannot be.")
    try:
        header = FrameHeader.model_validate_json(message[_LENGTH.size : start])
    except ValidationError as error:
        detail = f"The header of a frame is not valid: {error.errors()[0]['msg']}."
        raise LikenessError("REQUEST_MALFORMED", detail) from error
    encoded = message[start:]
    if len(encoded) > MAX_PICTURE_BYTES:
        detail = f"A frame's picture has {len(encoded)} bytes; at most {MAX_PICTURE_BYTES} are taken."
        raise LikenessError("MEDIA_TOO_LARGE", detail)
    return Frame(header, encoded)
