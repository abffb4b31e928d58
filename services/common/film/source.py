"""Opening film files that nobody vouches for.

The container is recognised by its first bytes, never by a name, and FFmpeg (PyAV) is handed that one demuxer, a list of
decoders and no protocol: what it reads it reads through an open Python file, so neither a playlist nor a reference
inside the film can make it open another file or the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import av
import av.error
import av.logging

from services.common.errors import LikenessError
from services.common.film.matroska import check_matroska

MAX_FILE_BYTES: Final = 2 * 1024**3
MAX_FRAME_PIXELS: Final = 4096 * 2304
SUPPORTED: Final = "MP4, MOV, WebM, Matroska, GIF and animated WebP"
READ_BYTES: Final = 256 * 1024  # at once, through Python
VIDEO_DECODERS: Final = frozenset(
    {
        *("h264", "hevc", "vp8", "vp9", "libvpx-vp9", "av1", "libdav1d", "mpeg4", "mpeg2video", "mpeg1video", "h263"),
        *("mjpeg", "prores", "dnxhd", "ffv1", "png", "qtrle", "rawvideo", "gif"),
    }
)
AUDIO_DECODERS: Final = frozenset(
    {
        *("aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3", "mp2", "mp2float"),
        *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw"),
    }
)
_MOV_ATOMS: Final = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_OTHER_KINDS: Final = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"#EXTM3U", "a playlist"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"RIFF", "an AVI or WAV file"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC recording"),
    (b"ID3", "an MP3 recording"),
    (b"FLV", "a Flash video"),
    (b"\x47", "an MPEG transport stream"),
    (b"<", "a text file"),
    (b"{", "a text file"),
)


def sniff_film(head: bytes) -> str | None:
    """FFmpeg's name of the container by a file's first 64 bytes, or "webp"; None when it is none that we accept."""
    if head[4:8] in _MOV_ATOMS:
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return None


def require_film(path: Path, field: str) -> str:
    """The container of a file, by its content.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_TOO_LARGE, MEDIA_UNSUPPORTED, or MEDIA_UNREADABLE when it was cut off.
    """
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise LikenessError("MEDIA_EMPTY", "The file has no content; a film was expected.", field=field)
    if size_bytes > MAX_FILE_BYTES:
        detail = f"The film has {size_bytes} bytes; at most {MAX_FILE_BYTES} are accepted. Send it in parts."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    with path.open("rb") as file:
        head = file.read(64)
        container = sniff_film(head)
        if container is None:
            kind = next((name for magic, name in _OTHER_KINDS if head.startswith(magic)), "of an unknown kind")
            detail = f"This is no film that can be read: it is {kind}. Supported are {SUPPORTED}."
            raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
        if container == "matroska":
            check_matroska(file, field)
        elif _ends_early(file, container, head, size_bytes):
            raise cut_off(container, field)
    return container


def cut_off(container: str, field: str) -> LikenessError:
    detail = f"The {container} file ends before its film does; it was probably cut off on its way. Send it again."
    return LikenessError("MEDIA_UNREADABLE", detail, field=field)


def _ends_early(file: BinaryIO, container: str, head: bytes, size_bytes: int) -> bool:
    """Whether the file's structure runs beyond its end."""
    if container == "webp":
        return int.from_bytes(head[4:8], "little") + 8 > size_bytes
    if container == "gif":
        file.seek(max(0, size_bytes - 64))
        return not file.read().rstrip(b"\0").endswith(b"\x3b")
    return _mov_ends_early(file, size_bytes)


def _mov_ends_early(file: BinaryIO, size_bytes: int) -> bool:
    """Whether one of the outermost boxes runs beyond the end of the file."""
    position = 0
    while position + 8 <= size_bytes:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # to the end of the file
            return False
        if length < 8:
            return False  # not a box; the demuxer will say so
        position += length
    return position > size_bytes


# What FFmpeg and PyAV raise about a file's content.
DAMAGE: Final = (av.error.FFmpegError, ValueError, OverflowError)


@contextmanager
def damage_reported(container: str, field: str) -> Iterator[None]:
    """Turns what FFmpeg raises about a file into LikenessError MEDIA_UNREADABLE."""
    try:
        yield
    except DAMAGE as error:
        detail = f"The {container} file is damaged and cannot be decoded; make it anew with another program."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field) from error


@contextmanager
def open_source(path: Path, container: str) -> Iterator[Any]:
    """The demuxer on a file of a known container; raises what FFmpeg raises."""
    options = {
        "format_whitelist": container,
        "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
        "protocol_whitelist": "none",
        "max_pixels": str(MAX_FRAME_PIXELS),
    }
    with (
        path.open("rb") as file,
        av.open(file, format=container, options=options, metadata_errors="replace", buffer_size=READ_BYTES) as source,
    ):
        yield source


def video_stream(source: Any, field: str) -> Any:
    """The film's first moving pictures, set up for one thread and to say when something is damaged.

    Raises:
        LikenessError: MEDIA_UNSUPPORTED when there are none, or none that can be decoded.
    """
    stream = next((s for s in source.streams.video if not s.disposition & av.stream.Disposition.attached_pic), None)
    if stream is None:
        raise LikenessError("MEDIA_UNSUPPORTED", "The file holds no moving pictures; a film was expected.", field=field)
    context = stream.codec_context
    if context is None or context.name not in VIDEO_DECODERS:
        name = "unknown" if context is None else context.name
        detail = f"Video of codec {name!r} is not supported; H.264, HEVC, VP8, VP9, AV1 and others are."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    context.thread_count = 1
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS), "err_detect": "explode"}
    return stream
