"""A folder of recordings of one person with what is said in them.

Either a table `metadata.csv` (columns parted by `|`, as in LJSpeech) or `metadata.tsv` (by tabs): the file's name, with
or without its ending, and last what is said; or beside each recording a `.txt` of the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.audio import FloatArray
from services.common.decode_audio import decode_audio
from services.common.errors import LikenessError

TABLES: Final = (("metadata.csv", "|"), ("metadata.tsv", "\t"))
AUDIO_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
AUDIO_FOLDERS: Final = (".", "wavs")  # where LJSpeech and others keep them
MIN_CLIPS: Final = 10


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording, 16 kHz mono (n,), and what is said in it."""

    name: str
    samples: FloatArray
    text: str


def read_clips(folder: Path) -> list[Clip]:
    """All clips of the folder, by name.

    Raises:
        LikenessError: INVALID_FIELD when there are fewer than ten, one has no words, or a file of the table is missing;
            MEDIA_* naming the clip that cannot be read.
    """
    named = sorted(_named(folder))
    if len(named) < MIN_CLIPS:
        detail = (
            f"{folder} has {len(named)} recordings with transcripts; at least {MIN_CLIPS} are needed: a metadata.csv "
            "as of LJSpeech, or beside each recording a .txt of the same name."
        )
        raise LikenessError("INVALID_FIELD", detail, field="voice")
    return [_read(path, text) for path, text in named]


def _named(folder: Path) -> Iterator[tuple[Path, str]]:
    for table, separator in TABLES:
        if (folder / table).is_file():
            for line in (folder / table).read_text(encoding="utf-8").splitlines():
                if line.strip():
                    name, *_, text = line.split(separator)
                    yield _find(folder, name.strip(), table), text.strip()
            return
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in AUDIO_SUFFIXES and path.with_suffix(".txt").is_file():
            yield path, path.with_suffix(".txt").read_text(encoding="utf-8").strip()


def _find(folder: Path, name: str, table: str) -> Path:
    for place in AUDIO_FOLDERS:
        for suffix in ("", *AUDIO_SUFFIXES):
            path = folder / place / f"{name}{suffix}"
            if path.is_file():
                return path
    raise LikenessError("INVALID_FIELD", f"{folder / table} names {name!r}, which is not in the folder.", field="voice")


def _read(path: Path, text: str) -> Clip:
    if not text:
        raise LikenessError("INVALID_FIELD", f"There is nothing written of what is said in {path.name}.", field="voice")
    try:
        samples = decode_audio(path.read_bytes()).samples
    except LikenessError as error:
        raise LikenessError(error.reason, f"{path.name}: {error.detail}", field="voice") from error
    return Clip(path.name, samples, text.lower() if text.isupper() else text)
