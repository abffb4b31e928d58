"""Bytes of an audio file -> 16 kHz mono samples, for files that nobody vouches for.

The container is recognised by its first bytes, never by a name, and FFmpeg (PyAV) is handed that one demuxer, a short
list of decoders and no protocol: a playlist or a script cannot make it open another file or the network.
Decoding stops at the limits below; memory stays bounded by them.
It does not conceal damage: a file that ends early or has undecodable packets is refused.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import av
import av.error
import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError

MAX_FILE_BYTES: Final = 50 * 1024 * 1024
MAX_DURATION_S: Final = 600.0
MAX_CHANNELS: Final = 8
FILE_RATES_HZ: Final = (4_000, 192_000)
SHORTFALL: Final = 0.02  # share of the declared duration that may be missing before a file counts as cut off
SHORTFALL_S: Final = 0.1

SUPPORTED: Final = "WAV, FLAC, MP3, Ogg (Opus, Vorbis), M4A/MP4 (AAC, ALAC), AAC, WebM/Matroska and AIFF"
_DECODERS: Final = frozenset(
    {
        *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
        *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_mulaw", "pcm_alaw", "adpcm_ms", "adpcm_ima_wav"),
        *("flac", "alac", "mp3", "mp3float", "aac", "vorbis", "opus", "libopus"),
    }
)
_OTHER_KINDS: Final = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"#EXTM3U", "a playlist"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<", "a text file"),
    (b"{", "a text file"),
)


@dataclass(frozen=True, eq=False)
class DecodedAudio:
    """What was in an audio file.

    Attributes:
        samples: mono float32 at 16 kHz, shape (n,); the mean of the file's channels.
        sample_rate_hz: of the file.
        duration_s: of what was decoded.
        container: FFmpeg's short name, such as "wav" or "ogg".
        codec: FFmpeg's name, such as "pcm_s16le" or "opus".
    """

    samples: FloatArray
    sample_rate_hz: int
    duration_s: float
    container: str
    codec: str


def sniff_container(data: bytes) -> str | None:
    """FFmpeg's name of the container by its first bytes; None when it is none that we accept."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:  # a tag before the audio, with its size in 4 x 7 bits
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    head = data[start : start + 12]
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "mov"
    by_magic = {b"fLaC": "flac", b"OggS": "ogg", b"\x1aE\xdf\xa3": "matroska"}
    if head[:4] in by_magic:
        return by_magic[head[:4]]
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "aac"
    if len(head) >= 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[2] & 0xF0 != 0xF0:
        return "mp3"
    return "mp3" if start else None


def _ends_early(data: bytes, container: str) -> bool:
    """Whether the structure of a WAV or Ogg file runs beyond the end of its bytes."""
    if container == "wav":
        position = 12
        while position + 8 <= len(data):
            name, size = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
            if name == b"data":  # writers that stream leave 0 or a huge number
                return 0 < size < 0x7FFF_0000 and data[:4] == b"RIFF" and position + 8 + size > len(data)
            position += 8 + size + size % 2
        return True
    if container == "ogg":
        page = data.rfind(b"OggS")
        if page + 27 > len(data) or page + 27 + data[page + 26] > len(data):
            return True
        segments = data[page + 27 : page + 27 + data[page + 26]]
        return page + 27 + len(segments) + sum(segments) > len(data)
    return False


def _declared_duration_s(data: bytes, container: str, stream: Any) -> float | None:
    """The duration the file itself claims; None where FFmpeg could only guess one from the bit rate."""
    claims = container in ("flac", "mov") or (
        container == "mp3" and any(tag in data[: 256 * 1024] for tag in (b"Xing", b"Info", b"VBRI"))
    )
    if not claims or stream.duration is None or stream.time_base is None:
        return None
    return float(stream.duration * stream.time_base)


def _open_stream(data: bytes, container: str, field: str) -> tuple[Any, Any]:
    options = {
        "format_whitelist": container,
        "codec_whitelist": ",".join(sorted(_DECODERS)),
        "protocol_whitelist": "none",
    }
    source = av.open(io.BytesIO(data), format=container, options=options, metadata_errors="replace")
    if not source.streams.audio:
        source.close()
        raise LikenessError("MEDIA_UNSUPPORTED", "The file holds no audio track.", field=field)
    stream = source.streams.audio[0]
    context = stream.codec_context
    if context is None or context.name not in _DECODERS:
        name = "unknown" if context is None else context.name
        source.close()
        raise LikenessError("MEDIA_UNSUPPORTED", f"Audio of codec {name!r} is not supported.", field=field)
    context.thread_count = 1
    return source, stream


def _check_format(rate_hz: int, channels: int, field: str) -> None:
    if not FILE_RATES_HZ[0] <= rate_hz <= FILE_RATES_HZ[1]:
        detail = f"The sample rate is {rate_hz} Hz; {FILE_RATES_HZ[0]} to {FILE_RATES_HZ[1]} Hz are supported."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    if not 1 <= channels <= MAX_CHANNELS:
        detail = f"The file has {channels} channels; 1 to {MAX_CHANNELS} are supported."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)


def _decode_mono(source: Any, stream: Any, field: str) -> Iterator[FloatArray]:
    """Pieces of 16 kHz mono. Channels are averaged here, since FFmpeg's own mixing can exceed full scale."""
    resampler: Any = None
    for packet in source.demux(stream):
        for frame in packet.decode():
            if resampler is None:
                _check_format(frame.sample_rate, frame.layout.nb_channels, field)
                resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=SAMPLE_RATE_HZ)
            for piece in resampler.resample(frame):
                yield piece.to_ndarray().mean(axis=0, dtype=np.float32)
    if resampler is not None:
        for piece in resampler.resample(None):
            yield piece.to_ndarray().mean(axis=0, dtype=np.float32)


def _collect(pieces: Iterator[FloatArray], field: str) -> FloatArray:
    collected: list[FloatArray] = []
    count = 0
    for piece in pieces:
        collected.append(piece)
        count += piece.size
        if count > MAX_DURATION_S * SAMPLE_RATE_HZ:
            detail = f"The recording is longer than {MAX_DURATION_S:.0f} s; send a shorter part of it."
            raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    return np.concatenate(collected) if collected else np.zeros(0, np.float32)


def _require_known_container(data: bytes, field: str) -> str:
    if not data:
        raise LikenessError("MEDIA_EMPTY", "The file has no content; an audio file was expected.", field=field)
    if len(data) > MAX_FILE_BYTES:
        detail = f"The file has {len(data)} bytes; at most {MAX_FILE_BYTES} are accepted."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    container = sniff_container(data)
    if container is None:
        kind = next((name for magic, name in _OTHER_KINDS if data.startswith(magic)), "of an unknown kind")
        detail = f"This is no audio file that can be read: it is {kind}. Supported are {SUPPORTED}."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    return container


def decode_audio(data: bytes, *, field: str = "file") -> DecodedAudio:
    """Decodes an audio file of any supported kind to 16 kHz mono.

    Raises:
        LikenessError: MEDIA_EMPTY, MEDIA_UNSUPPORTED, MEDIA_UNREADABLE or MEDIA_TOO_LARGE, naming `field`.
    """
    container = _require_known_container(data, field)
    if _ends_early(data, container):
        detail = f"The {container} file ends before its audio does; it was probably cut off on its way."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field)
    try:
        source, stream = _open_stream(data, container, field)
        with source:
            samples = _collect(_decode_mono(source, stream, field), field)
            declared_s = _declared_duration_s(data, container, stream)
            rate_hz, codec = int(stream.codec_context.sample_rate), str(stream.codec_context.name)
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        detail = f"The {container} file is damaged or cut off and cannot be decoded."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field) from error
    if samples.size == 0:
        raise LikenessError("MEDIA_EMPTY", "The file holds no audio samples.", field=field)
    if not np.isfinite(samples).all():
        raise LikenessError("MEDIA_UNREADABLE", "The file holds NaN or infinite samples.", field=field)
    duration_s = samples.size / SAMPLE_RATE_HZ
    if declared_s is not None and duration_s < declared_s * (1 - SHORTFALL) - SHORTFALL_S:
        detail = f"The file declares {declared_s:.1f} s but only {duration_s:.1f} s could be decoded; it was cut off."
        raise LikenessError("MEDIA_UNREADABLE", detail, field=field)
    return DecodedAudio(np.clip(samples, -1.0, 1.0), rate_hz, duration_s, container, codec)
