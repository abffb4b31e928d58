"""What a spoken utterance measures: real-time factor, time to first audio, likeness to the enrolled voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.common.models import LOCAL_MANIFEST, MANIFEST, Registry
from services.gateway.stages import Call, Stages

UNMEASURED: Final = "unmeasured"
MIN_MEASURED_S: Final = 3.0  # shorter outputs are repeated: the encoder refuses less than a second of speech
MAX_MEASURED_S: Final = 60.0


@dataclass
class SpeechFigures:
    """Figures of one utterance; None is not measured (yet).

    Attributes:
        ttfa_ms: from the request's arrival to the first samples.
        real_time_factor: time until the last sample / duration of the audio; below 1 is faster than listening.
        speaker_similarity: cosine between the embeddings of this output and of the enrolled voice.
        similarity_error: why it could not be measured.
        audio_seconds: duration of the audio.
        vocoder: the engine that made it.
        models: version (start of the SHA-256) of each model that took part, as far as this machine has the manifest.
    """

    ttfa_ms: float | None = None
    real_time_factor: float | None = None
    speaker_similarity: float | None = None
    similarity_error: str | None = None
    audio_seconds: float = 0.0
    vocoder: str = ""
    models: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def speech_headers(job_id: str, figures: SpeechFigures, *, similarity: float | None, complete: bool) -> dict[str, str]:
    """Response headers; `similarity` is that of this output, or of the voice when the output is not complete."""
    return {
        "X-Likeness-Job": job_id,
        "X-Likeness-Real-Time-Factor": _number(figures.real_time_factor, 4),
        "X-Likeness-Time-To-First-Audio-Ms": _number(figures.ttfa_ms, 1),
        "X-Likeness-Speaker-Similarity": _number(similarity, 4),
        "X-Likeness-Figures": "complete" if complete else "first-chunk",
    }


def measure_similarity(stages: Stages, samples: FloatArray, enrolled: FloatArray, call: Call, *, label: str) -> float:
    """Cosine between the embeddings of synthesized samples (n,) at 16 kHz and of the enrolled voice, shape (256,).

    Raises:
        LikenessError: the encoder cannot be reached, or finds no speech.
    """
    return begin_to_measure(stages, samples, enrolled, call, label=label)()


def begin_to_measure(
    stages: Stages, samples: FloatArray, enrolled: FloatArray, call: Call, *, label: str
) -> Callable[[], float]:
    """The same beside what the caller does next: what this returns waits for the cosine, and returns or raises."""
    if samples.size == 0:
        raise LikenessError("SPEECH_TOO_SHORT", "There are no samples to compare.")
    repeats = int(np.ceil(MIN_MEASURED_S * SAMPLE_RATE_HZ / samples.size))
    measured = np.tile(samples, max(1, repeats))[: int(MAX_MEASURED_S * SAMPLE_RATE_HZ)]
    waiting = stages.begin_to_embed(measured, call, label=label, embedding_only=True, surely_speech=True)
    return lambda: cosine(np.asarray(waiting().profile.embedding, np.float32), enrolled)


def model_versions(models_dir: Path, vocoder: str) -> dict[str, str]:
    """Name -> version of the models behind an utterance that this engine made."""
    versions = _versions(models_dir, tuple(_changed_at(models_dir / name) for name in (MANIFEST, LOCAL_MANIFEST)))
    wanted = ("encoder-ge2e", "synthesizer-nat", f"vocoder-{vocoder}")
    return {name: versions[name] for name in wanted if name in versions}


@lru_cache(maxsize=4)
def _versions(models_dir: Path, _changed_at_ns: tuple[int, ...]) -> dict[str, str]:
    """Of all models in the manifests, which are read again when they have changed."""
    registry = Registry(models_dir)
    return {name: registry.entry(name).sha256[:12] for name in registry.names()}


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def cosine(a: FloatArray, b: FloatArray) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if a.shape != b.shape or norm == 0.0:
        raise LikenessError("INTERNAL", f"Cannot compare embeddings of shapes {a.shape} and {b.shape}.")
    return float(np.dot(a, b)) / norm


def _number(value: float | None, digits: int) -> str:
    return UNMEASURED if value is None else f"{value:.{digits}f}"
