"""Somebody who reads a text aloud: the project's synthesizer with its draft vocoder, in this process, unmarked.

Stands for a person where none is at hand. `python -m benchmarks.reading_aloud TEXT FILE.wav` reads a little otherwise
each time, as a person does: what is read in the same way again is a replay.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmarks.speakers import persona
from services.common.audio import FloatArray
from services.common.encode_audio import encode_audio
from services.common.models import Registry
from services.common.profile import SpeakerProfile, speaker_statistics
from services.common.settings import CommonSettings
from services.encoder import SpeakerNetwork, encode_speech
from services.synthesizer.engine import SpeechOptions, Synthesizer
from services.synthesizer.network import Network
from services.vocoder.draft import DraftEngine
from services.vocoder.engines import Engine


@lru_cache(maxsize=1)
def _synthesizer() -> Synthesizer:
    return Synthesizer(Network(Registry(CommonSettings().models_dir)))


@lru_cache(maxsize=1)
def _embed_windows() -> Callable[[FloatArray], FloatArray]:
    return SpeakerNetwork(Registry(CommonSettings().models_dir).path("encoder-ge2e"), threads=1).embed


def profile_of(recording: FloatArray) -> SpeakerProfile:
    """The profile of who speaks in 16 kHz mono samples (n,), not calibrated."""
    encoded = encode_speech(recording, _embed_windows(), embedding_only=True)
    statistics = speaker_statistics(recording)
    return SpeakerProfile(
        embedding=encoded.embedding,
        log_f0_median=statistics.log_f0_median,
        log_f0_spread=statistics.log_f0_spread,
        mel_mean=statistics.mel_mean,
        mel_spread=statistics.mel_spread,
    )


@lru_cache(maxsize=1)
def _persona() -> SpeakerProfile:
    return profile_of(persona()[0].material)


def read_aloud(
    text: str,
    speaker: SpeakerProfile | None = None,
    *,
    seed: int = 0,
    speed: float = 1.0,
    pitch_shift_semitones: float = 0.0,
) -> FloatArray:
    """16 kHz mono samples (n,), by default in the voice of the demo's persona."""
    options = SpeechOptions(seed=seed, speed=speed, pitch_shift_semitones=pitch_shift_semitones)
    chunks = [chunk.frames for chunk in _synthesizer().synthesize(text, speaker or _persona(), options)]
    return np.asarray(Engine(DraftEngine()).synthesize(np.concatenate(chunks), seed), np.float32)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    speed, pitch = random.uniform(0.92, 1.08), random.uniform(-1.5, 1.5)
    samples = read_aloud(sys.argv[1], seed=random.getrandbits(32), speed=speed, pitch_shift_semitones=pitch)
    Path(sys.argv[2]).write_bytes(encode_audio(samples, "wav"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
