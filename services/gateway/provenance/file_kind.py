"""What kind of file somebody sent, by its first bytes, also behind a tag that begins it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from services.common.errors import LikenessError
from services.gateway.content_kinds import sniff
from services.gateway.uploads import SNIFFED_BYTES

PCM: Final = "audio/pcm"
_ID3_HEADER_BYTES: Final = 10
_KINDS: Final = ("audio/", "image/", "video/")


def kind_of(path: Path, *, field: str) -> str:
    """The content type of a recording, picture or film.

    A manifest in an MP3 or FLAC file is an ID3v2 tag before all else, so that what follows the tag decides.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_UNSUPPORTED.
    """
    with path.open("rb") as file:
        head = file.read(SNIFFED_BYTES)
        if not head:
            raise LikenessError("MEDIA_EMPTY", "The file has no content.", field=field)
        if head.startswith(b"ID3") and len(head) >= _ID3_HEADER_BYTES:
            file.seek(_ID3_HEADER_BYTES + _syncsafe(head[6:10]))
            after = file.read(SNIFFED_BYTES)
            found = sniff(after) if after.startswith(b"fLaC") else sniff(head)
        else:
            found = sniff(head)
    if found is None or not found.startswith(_KINDS):
        detail = (
            f"The file is {found or 'of an unknown kind'}; a recording, a picture or a film was expected. Of bare PCM "
            "samples say `format=pcm`."
        )
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    return found


def _syncsafe(data: bytes) -> int:
    """Four bytes of seven bits each (ID3v2.4, 6.2)."""
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value
