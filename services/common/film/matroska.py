"""Whether the structure of a Matroska or WebM file is whole (RFC 9559, RFC 8794).

FFmpeg steps over what it does not understand, so a film with a damaged middle would merely seem shorter. Here every
element is visited down to the blocks inside the clusters; their content is not read.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import BinaryIO, Final

from services.common.errors import LikenessError

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675
# In a segment: seek head, info, tracks, cues, attachments, chapters, tags.
_IN_SEGMENT: Final = frozenset({0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367})
# In a cluster: time stamp, position, size of the one before, simple block, block group, encrypted block, silent tracks.
_IN_CLUSTER: Final = frozenset({0xE7, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF, 0x5854})
_ANYWHERE: Final = frozenset({0xEC, 0xBF})  # filling, checksum
_KNOWN: Final = _IN_SEGMENT | _IN_CLUSTER | _ANYWHERE


def check_matroska(file: BinaryIO, field: str) -> None:
    """Raises LikenessError MEDIA_UNREADABLE for a file that was cut off or is damaged between its blocks.

    A file whose length was not known when it was written (a live recording) ends where it ends.
    """
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        header = _element(data, 0)
        segment = None if header is None or header.end is None else _element(data, header.end)
        if segment is None or (segment.end is not None and segment.end > len(data)):
            detail = "The matroska file ends before its film does; it was probably cut off on its way. Send it again."
            raise LikenessError("MEDIA_UNREADABLE", detail, field=field)
        damaged_at = segment.content if segment.name != SEGMENT else _walk(data, segment)
    if damaged_at is not None:
        detail = f"The matroska file is damaged at byte {damaged_at}; make it anew with another program."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field)


@dataclass(frozen=True, slots=True)
class _Element:
    """Its name with the marker bits, where its content begins, and where it ends (None: not told)."""

    name: int
    content: int
    end: int | None


def _element(data: mmap.mmap, at: int) -> _Element | None:
    """The element at a position; None where the file ends within its head. A name of 0 is none."""
    head = data[at : at + 12]
    name_bytes = 9 - head[0].bit_length() if head else 1
    if name_bytes > 4:
        return _Element(0, at, None)
    if len(head) <= name_bytes:
        return None
    size_bytes = 9 - head[name_bytes].bit_length()
    if size_bytes > 8:
        return _Element(0, at, None)
    content = name_bytes + size_bytes
    if len(head) < content:
        return None
    unknown = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(head[name_bytes:content], "big") & unknown
    name = int.from_bytes(head[:name_bytes], "big")
    return _Element(name, at + content, None if size == unknown else at + content + size)


def _walk(data: mmap.mmap, segment: _Element) -> int | None:
    """Where the segment is damaged; None when it is whole."""
    live = segment.end is None
    end = len(data) if segment.end is None else segment.end
    cluster_end: int | None = None
    at = segment.content
    while at < end:
        element = _element(data, at)
        if element is None or (element.end is not None and element.end > end):
            return None if live else at
        if element.name == CLUSTER:
            cluster_end, at = element.end, element.content
            continue
        if element.name not in _KNOWN or element.end is None:
            return at
        at = element.end
        if cluster_end is not None and at >= cluster_end:
            if at > cluster_end:
                return at
            cluster_end = None
    return None
