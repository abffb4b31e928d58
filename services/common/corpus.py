"""A folder of recorded speech with a manifest.tsv, and the rule of what is never trained on.

Columns: path, corpus, speaker, gender, age, split, seconds, text. Training and evaluation both read it here, so that
the held-out speakers are the same everywhere.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LIBRISPEECH_HELD_OUT: Final = 20  # speakers, the last in order of their names


@dataclass(frozen=True)
class Recording:
    """One row of the manifest; `text` is empty where nobody wrote down what is said."""

    path: Path
    corpus: str
    speaker: str
    split: str
    seconds: float
    text: str


def read_manifest(speech_dir: Path) -> list[Recording]:
    """All recordings of the folder.

    Raises:
        FileNotFoundError: there is no manifest.tsv.
        ValueError: a column is missing.
    """
    manifest = speech_dir / "manifest.tsv"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest} does not exist; expected a tab-separated table of recordings")
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        return [
            Recording(
                path=speech_dir / row["path"],
                corpus=row["corpus"],
                speaker=row["speaker"],
                split=row["split"],
                seconds=float(row["seconds"]),
                text=row["text"] or "",
            )
            for row in rows
        ]
    except KeyError as missing:
        raise ValueError(f"{manifest} has no column {missing}") from None


def held_out_speakers(recordings: list[Recording]) -> set[str]:
    """Speakers that no model may be trained on: those of every split but `train`, and 20 of LibriSpeech."""
    not_train = {r.speaker for r in recordings if r.split != "train"}
    librispeech = sorted({r.speaker for r in recordings if r.corpus == "librispeech"})
    return not_train | set(librispeech[-LIBRISPEECH_HELD_OUT:])


def training_recordings(recordings: list[Recording]) -> list[Recording]:
    """Recordings of the speakers that may be trained on."""
    held_out = held_out_speakers(recordings)
    return [r for r in recordings if r.split == "train" and r.speaker not in held_out]


def evaluation_recordings(recordings: list[Recording]) -> list[Recording]:
    """Recordings of the held-out speakers."""
    held_out = held_out_speakers(recordings)
    return [r for r in recordings if r.speaker in held_out]
