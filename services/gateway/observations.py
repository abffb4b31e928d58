"""Prometheus metrics of what the gateway and its workers make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import Counter, Histogram

from services.gateway.figures import SpeechFigures
from services.gateway.jobs.records import JobState

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_FACTORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0, 10.0)
_LIKENESS: Final = (0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
_RATES: Final = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 200.0)
speeches_total = Counter("likeness_speeches", "Spoken utterances by how they ended", ["state"])
speech_ttfa_seconds = Histogram("likeness_speech_time_to_first_audio_seconds", "From arrival", buckets=SECONDS)
speech_real_time_factor = Histogram("likeness_speech_real_time_factor", "Whole path", buckets=_FACTORS)
speech_similarity = Histogram("likeness_speech_similarity", "Cosine to the enrolled voice", buckets=_LIKENESS)
films_total = Counter("likeness_films", "Swapped films by how they ended", ["state"])
film_frames_total = Counter("likeness_film_frames", "Frames of films that were published")
film_frames_per_second = Histogram("likeness_film_frames_per_second", "Whole path, published films", buckets=_RATES)
marks_total = Counter("likeness_marks", "Marks looked for before release, found or missing", ["kind", "outcome"])
live_sessions_total = Counter("likeness_live_sessions", "Live swaps by how they ended", ["state"])


def observe_speech(state: JobState, figures: SpeechFigures) -> None:
    speeches_total.labels(state=state).inc()
    if figures.ttfa_ms is not None:
        speech_ttfa_seconds.observe(figures.ttfa_ms / 1000.0)
    if state == "succeeded" and figures.real_time_factor is not None:
        speech_real_time_factor.observe(figures.real_time_factor)
    if figures.speaker_similarity is not None:
        speech_similarity.observe(figures.speaker_similarity)


def observe_film(state: JobState, figures: Mapping[str, Any]) -> None:
    films_total.labels(state=state).inc()
    if state == "succeeded":
        film_frames_total.inc(figures["frames"])
        film_frames_per_second.observe(figures["frames_per_second"])
