"""Whose voices are cloned in a benchmark: held-out speakers, each with a reference and a vector of other recordings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.flite_reference import read_audio
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.corpus import Recording, evaluation_recordings, read_manifest
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.encoder import SpeakerNetwork, encode_speech

PAUSE_S: Final = 0.2  # between joined clips
PERSONA: Final = Path(__file__).resolve().parents[1] / "examples" / "persona"


@dataclass(frozen=True, eq=False)
class Speaker:
    """One voice to clone.

    Attributes:
        material: recordings for references, joined, 16 kHz mono, shape (n,).
        vector: mean embedding, shape (256,), of recordings outside `material` where there are enough, else of it.
        several_recordings: whether `vector` is from recordings outside `material`.
    """

    name: str
    corpus: str
    material: FloatArray
    vector: FloatArray
    several_recordings: bool

    def reference(self, seconds: float) -> FloatArray:
        return self.material[: int(seconds * SAMPLE_RATE_HZ)]


@lru_cache(maxsize=1)
def _network() -> SpeakerNetwork:
    return SpeakerNetwork(Registry(CommonSettings().models_dir).path("encoder-ge2e"), threads=1)


def embed(samples: FloatArray) -> FloatArray:
    """Speaker embedding, shape (256,), of 16 kHz mono samples with at least a second of speech."""
    return encode_speech(samples, _network().embed, embedding_only=True).embedding


def join(clips: list[FloatArray]) -> FloatArray:
    pause = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    return np.concatenate([piece for clip in clips for piece in (clip, pause)])


def held_out(speech_dir: Path, reference_s: float) -> list[Speaker]:
    """All held-out speakers of the folder, by name."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in evaluation_recordings(read_manifest(speech_dir)):
        by_speaker.setdefault(recording.speaker, []).append(recording)
    return [_speaker(name, recordings, reference_s) for name, recordings in sorted(by_speaker.items())]


def _speaker(name: str, recordings: list[Recording], reference_s: float) -> Speaker:
    ordered = sorted(recordings, key=lambda recording: str(recording.path))
    used, seconds = 0, 0.0
    while used < len(ordered) and seconds < reference_s:
        seconds += ordered[used].seconds + PAUSE_S
        used += 1
    material = join([read_audio(recording.path) for recording in ordered[:used]])
    others = [read_audio(recording.path) for recording in ordered[used:]]
    several = len(others) >= 3
    vector = embed(join(others)) if several else embed(material)
    return Speaker(name, ordered[0].corpus, material, vector, several)


def persona() -> list[Speaker]:
    """The demo's synthetic persona: who is cloned when no folder of recordings is given."""
    path = next(iter(sorted(PERSONA.glob("*.flac"))))
    material = read_audio(path)
    return [Speaker(path.stem, "persona", material, embed(material), several_recordings=False)]
