"""The folder that training reads, written utterance by utterance.

frames.f16      acoustic frames (N, 82) float16 of all utterances, one after the other
utterances.jsonl one line each: the fields of `Utterance`
speakers.json   name -> profile (embedding and statistics over all that the speaker says)
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from services.common.audio import FRAME_CHANNELS, SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.models import Registry
from services.common.profile import SpeakerProfile, speaker_statistics
from services.common.settings import CommonSettings
from services.encoder import SpeakerNetwork, encode_speech
from services.encoder.model import MODEL_NAME as ENCODER_NAME
from services.synthesizer.align import AlignedSymbols

EMBEDDING_SECONDS: Final = 24.0  # of speech behind a speaker's embedding
FRAME_BYTES: Final = 2 * FRAME_CHANNELS


@dataclass(frozen=True)
class Utterance:
    """One line of utterances.jsonl."""

    speaker: str
    voice: str
    first_frame: int
    frame_count: int
    symbols: list[str]
    word_edges: list[int]
    durations: list[float]  # in frames; they add up to frame_count
    text: str


@dataclass(frozen=True, eq=False)
class Made:
    """An utterance with its acoustic frames (T, 82) and the samples (n,) that they are of."""

    utterance: Utterance
    frames: NDArray[np.float16]
    samples: FloatArray


def make_utterance_of(samples: FloatArray, aligned: AlignedSymbols, *, speaker: str, voice: str, text: str) -> Made:
    """Frames of what was cut out of a recording, and the symbols' durations in such frames."""
    frames = acoustic_frames(samples)
    durations = np.array(aligned.durations_s)
    durations *= len(frames) / durations.sum()
    utterance = Utterance(
        speaker=speaker,
        voice=voice,
        first_frame=0,
        frame_count=len(frames),
        symbols=list(aligned.symbols),
        word_edges=list(aligned.word_edges),
        durations=[round(float(d), 3) for d in durations],
        text=text,
    )
    return Made(utterance, frames.astype(np.float16), samples)


class CorpusWriter:
    """Adds utterances to a folder; on leaving it the profiles of the new speakers are added, too.

    Args:
        append: go on after what is there, instead of beginning anew.
    """

    def __init__(self, folder: Path, *, append: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        mode = "a" if append else "w"
        self._frames_file = (folder / "frames.f16").open(f"{mode}b")
        self._lines = (folder / "utterances.jsonl").open(mode, encoding="utf-8")
        speakers = folder / "speakers.json"
        self._profiles: dict[str, Any] = json.loads(speakers.read_text("utf-8")) if append and speakers.exists() else {}
        self.frame_count = self._frames_file.tell() // FRAME_BYTES
        self.utterance_count = 0
        self._frames: dict[str, list[NDArray[np.float16]]] = defaultdict(list)
        self._spoken: dict[str, list[FloatArray]] = defaultdict(list)
        self._spoken_s: dict[str, float] = defaultdict(float)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames_file.close()
        self._lines.close()
        if error is None:
            (self._folder / "speakers.json").write_text(json.dumps(self._profiles | self._measured()), "utf-8")

    def add(self, made: Made) -> None:
        """Writes one utterance."""
        speaker = made.utterance.speaker
        line = asdict(made.utterance) | {"first_frame": self.frame_count}
        self._lines.write(json.dumps(line) + "\n")
        self._frames_file.write(made.frames.tobytes())
        self._frames[speaker].append(made.frames)
        if self._spoken_s[speaker] < EMBEDDING_SECONDS:
            self._spoken[speaker].append(made.samples)
            self._spoken_s[speaker] += made.samples.size / SAMPLE_RATE_HZ
        self.frame_count += made.utterance.frame_count
        self.utterance_count += 1

    @property
    def speakers(self) -> list[str]:
        """Who spoke, of those added."""
        return sorted(self._frames)

    def _measured(self) -> dict[str, Any]:
        """Profiles of those added."""
        embed = SpeakerNetwork(Registry(CommonSettings().models_dir).path(ENCODER_NAME), threads=1).embed
        profiles = {}
        for name in self.speakers:
            statistics = speaker_statistics(np.concatenate(self._frames[name]).astype(np.float32))
            embedding = encode_speech(np.concatenate(self._spoken[name]), embed, embedding_only=True).embedding
            profiles[name] = json.loads(SpeakerProfile(embedding=embedding, **vars(statistics)).to_json())
        return profiles
