"""Looking at one file: its hash, its manifest, its mark. Knows nothing of records; what it finds is plain data.

It decodes what strangers send, which is why `examiner` runs it in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.decode_audio import MAX_FILE_BYTES, decode_audio
from services.common.decode_picture import decode_picture
from services.common.encode_audio import PCM_RATE_HZ
from services.common.errors import LikenessError
from services.common.marking.audio import find_audio_mark
from services.common.marking.film import find_film_mark
from services.common.marking.found import MarkFound
from services.common.marking.picture import find_picture_mark
from services.common.models import file_sha256
from services.gateway.provenance.file_kind import PCM
from services.gateway.provenance.reading import ManifestReport, TrustedCertificates, read_manifest
from services.gateway.uploads import SNIFFED_BYTES, film_content_type

Place = Literal["sound", "picture", "film"]
MAX_PCM_S: Final = 600.0
SEARCHED_S: Final = 60  # of sound at a time: a mark may be in a part of a recording only


@dataclass(frozen=True)
class SeenMark:
    """A number that was read, in what, and how sure that is: 1 - the probability of chance."""

    number: int
    confidence: float
    place: Place


@dataclass(frozen=True)
class Examination:
    """What there is to see in a file.

    Attributes:
        marks: of a film there may be two, in pictures and in sound.
        unsearched: why marks could not be looked for.
    """

    content_type: str
    size_bytes: int
    sha256: str
    manifest: ManifestReport
    marks: tuple[SeenMark, ...]
    unsearched: str | None


def examine(
    path: Path,
    content_type: str,
    trusted: TrustedCertificates,
    mark_key: bytes,
    sidecar: bytes | None = None,
    *,
    searches: bool = True,
) -> Examination:
    """Everything that a file tells by itself.

    Args:
        mark_key: 32 bytes.
        sidecar: its manifest, where that came separately.
        searches: looks for marks, too.
    """
    unsearched: str | None = None
    marks: tuple[SeenMark, ...] = ()
    try:
        if searches:
            marks = find_marks(path, content_type, mark_key)
    except LikenessError as error:
        unsearched = error.detail
    return Examination(
        content_type=content_type,
        size_bytes=path.stat().st_size,
        sha256=file_sha256(path),
        manifest=read_manifest(path, content_type, trusted, sidecar),
        marks=marks,
        unsearched=unsearched,
    )


def find_marks(path: Path, content_type: str, key: bytes) -> tuple[SeenMark, ...]:
    """The marks in sound and pictures. Raises LikenessError MEDIA_* for what cannot be decoded."""
    if content_type == PCM:
        return _seen("sound", _in_sound(_pcm_samples(path), PCM_RATE_HZ, key))
    if content_type.startswith("audio/"):
        return _seen("sound", _in_sound(decode_audio(_content(path), field="file").samples, SAMPLE_RATE_HZ, key))
    if content_type.startswith("image/") and not _is_animated(path):
        rgb = decode_picture(_content(path), field="file")[:, :, ::-1]
        return _seen("picture", find_picture_mark(np.ascontiguousarray(rgb), key))
    in_pictures = _seen("film", find_film_mark(path, key, field="file"))
    return in_pictures + _seen("sound", _in_sound(_soundtrack(path), SAMPLE_RATE_HZ, key))


def _seen(place: Place, found: MarkFound | None) -> tuple[SeenMark, ...]:
    return () if found is None else (SeenMark(found.number, found.confidence, place),)


def _in_sound(samples: FloatArray, rate_hz: int, key: bytes) -> MarkFound | None:
    """The first mark in stretches of a minute."""
    step = SEARCHED_S * rate_hz
    for start in range(0, samples.size, step):
        found = find_audio_mark(samples[start : start + step], rate_hz, key)
        if found is not None:
            return found
    return None


def _pcm_samples(path: Path) -> FloatArray:
    """Signed 16-bit little endian at 24 kHz, as the API gives it."""
    limit = int(2 * PCM_RATE_HZ * MAX_PCM_S)
    data = _content(path, limit)
    if len(data) % 2:
        raise LikenessError("MEDIA_UNREADABLE", "PCM of 16 bits has an even number of bytes.", field="file")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def _soundtrack(path: Path) -> FloatArray:
    """The sound of a film; nothing where there is none that can be decoded: its pictures have been searched."""
    try:
        return decode_audio(_content(path), field="file").samples
    except LikenessError:
        return np.zeros(0, np.float32)


def _content(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    size_bytes = path.stat().st_size
    if size_bytes > limit:
        detail = f"The file has {size_bytes} bytes; marks are searched in at most {limit}."
        raise LikenessError("MEDIA_TOO_LARGE", detail, field="file")
    return path.read_bytes()


def _is_animated(path: Path) -> bool:
    """Whether a picture's file may hold several."""
    with path.open("rb") as file:
        return film_content_type(file.read(SNIFFED_BYTES)) is not None
