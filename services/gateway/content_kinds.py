"""What kind of file it is, by its first bytes; what its name says does not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from services.common.errors import LikenessError
from services.common.picture_header import picture_kind
from services.gateway.uploads import SNIFFED_BYTES, film_content_type

UploadPurpose = Literal["swap_target", "voice_sample", "face_picture", "batch_input"]
_PICTURES: Final = ("png", "jpeg", "webp", "bmp", "gif")
_M4A: Final = (b"M4A ", b"M4B ", b"F4A ")
_MPEG_SYNC: Final = 0xFFE0  # eleven set bits begin a frame of MPEG audio; ADTS has a twelfth, and no layer
_ADTS_MASK: Final = 0xFFF6
_ADTS: Final = 0xFFF0


def sniff(head: bytes) -> str | None:
    """The content type of a picture, film, recording or text of JSON lines; None for anything else.

    Args:
        head: the first `SNIFFED_BYTES` bytes, or all there are.
    """
    audio = _audio_type(head)
    if audio is not None:
        return audio
    film = film_content_type(head)
    if film is not None:
        return film
    kind = picture_kind(head)
    if kind in _PICTURES:
        return f"image/{kind}"
    return "application/jsonl" if head.lstrip().startswith(b"{") else None


def _audio_type(head: bytes) -> str | None:
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "audio/wav"
    if head.startswith(b"fLaC"):
        return "audio/flac"
    if head.startswith(b"OggS"):
        return "audio/ogg"
    if head[4:8] == b"ftyp" and head[8:12] in _M4A:
        return "audio/mp4"
    if head.startswith(b"ID3"):
        return "audio/mpeg"
    first = int.from_bytes(head[:2], "big")
    if first & _ADTS_MASK == _ADTS:
        return "audio/aac"
    if first & _MPEG_SYNC == _MPEG_SYNC and first & 0x6 and first & 0x18 != 0x8:
        return "audio/mpeg"
    return None


# Recordings may come as the sound of a film.
_ACCEPTED: Final[dict[UploadPurpose, tuple[str, Callable[[str], bool]]]] = {
    "swap_target": ("a picture or a film", lambda kind: kind.startswith(("image/", "video/"))),
    "voice_sample": ("a recording", lambda kind: kind.startswith(("audio/", "video/"))),
    "face_picture": ("a picture", lambda kind: kind.startswith("image/")),
    "batch_input": ("a text of JSON lines", lambda kind: kind == "application/jsonl"),
}


def content_type_for(purpose: UploadPurpose, head: bytes) -> str:
    """The content type. Raises LikenessError MEDIA_UNSUPPORTED when such a file does not serve the purpose."""
    found = sniff(head[:SNIFFED_BYTES])
    wanted, accepts = _ACCEPTED[purpose]
    if found is None or not accepts(found):
        detail = f"The file is {found or 'of an unknown kind'}; for {purpose}, {wanted} is expected."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field="purpose")
    return found
