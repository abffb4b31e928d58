"""Measures the encoder on recordings whose speakers are known; the figures of README.md.

    python -m services.encoder.evaluate --speech-dir DIR

DIR holds manifest.tsv (path, corpus, speaker, split, ...). Used are the speakers of split "dev" and the corpus with
one recording per speaker, whose halves are compared. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.decode_audio import decode_audio
from services.common.models import Registry
from services.encoder.encoder import encode_speech
from services.encoder.features import mel_windows
from services.encoder.model import MODEL_NAME, SpeakerNetwork, average
from services.encoder.quality import ONE_SPEAKER_CONSISTENCY, speaker_consistency
from services.encoder.settings import EncoderSettings
from services.encoder.voice_activity import find_speech

HALVES_CORPUS: Final = "librispeech"
MIN_HALVES_WINDOWS: Final = 6


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording of the evaluation: its speech without pauses, and its window embeddings (N, 256)."""

    corpus: str
    speaker: str
    speech: FloatArray
    embeddings: FloatArray


def read_recordings(speech_dir: Path, network: SpeakerNetwork, limit: int) -> list[Recording]:
    """At most `limit` recordings of each kind, spread over the list."""
    with (speech_dir / "manifest.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    dev = [row for row in rows if row["split"] == "dev"]
    halves = [row for row in rows if row["corpus"] == HALVES_CORPUS]
    chosen = [row for kind in (dev, halves) for row in kind[:: max(1, -(-len(kind) // limit))]]
    recordings = []
    for row in chosen:
        samples = decode_audio((speech_dir / row["path"]).read_bytes()).samples
        speech = find_speech(samples, acoustic_frames(samples)).trimmed
        if speech.size >= SAMPLE_RATE_HZ:
            embeddings = network.embed(mel_windows(speech))
            recordings.append(Recording(row["corpus"], row["speaker"], speech, embeddings))
    return recordings


def equal_error_rate(same: NDArray[np.floating[Any]], different: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Error rate where misses and false alarms are equally frequent, and the threshold there."""
    thresholds = np.unique(np.concatenate([same, different]))
    misses = np.searchsorted(np.sort(same), thresholds) / same.size
    alarms = 1 - np.searchsorted(np.sort(different), thresholds) / different.size
    best = int(np.argmin(np.abs(misses - alarms)))
    return float((misses[best] + alarms[best]) / 2), float(thresholds[best])


def verification(same: NDArray[Any], different: NDArray[Any]) -> dict[str, float]:
    rate, threshold = equal_error_rate(same, different)
    return {
        "same_mean": round(float(same.mean()), 3),
        "different_mean": round(float(different.mean()), 3),
        "equal_error_rate": round(rate, 4),
        "threshold": round(threshold, 3),
        "same_pairs": int(same.size),
        "different_pairs": int(different.size),
    }


def compare_utterances(recordings: list[Recording]) -> dict[str, float]:
    """Every pair of single utterances."""
    vectors = np.stack([average(item.embeddings) for item in recordings])
    speakers = np.array([item.speaker for item in recordings])
    rows, columns = np.triu_indices(len(recordings), 1)
    cosines = (vectors @ vectors.T)[rows, columns]
    same = speakers[rows] == speakers[columns]
    return verification(cosines[same], cosines[~same])


def compare_halves(recordings: list[Recording]) -> dict[str, float]:
    """First half of each recording against second half of every one; no window is in both."""
    usable = [item.embeddings for item in recordings if len(item.embeddings) >= MIN_HALVES_WINDOWS]
    first = np.stack([average(item[: len(item) // 2 - 1]) for item in usable])
    second = np.stack([average(item[len(item) // 2 + 1 :]) for item in usable])
    cosines, own = first @ second.T, np.eye(len(usable), dtype=bool)
    return verification(cosines[own], cosines[~own])


def count_speakers(recordings: list[Recording], network: SpeakerNetwork, seed: int, count: int) -> dict[str, float]:
    """Flagged share of single speakers and of two speakers in one recording, one after the other or in turns."""
    rng = np.random.default_rng(seed)
    by_speaker: dict[str, list[FloatArray]] = defaultdict(list)
    for item in recordings:
        by_speaker[item.speaker].append(item.speech)
    voices = {name: np.concatenate(parts)[: 60 * SAMPLE_RATE_HZ] for name, parts in by_speaker.items()}
    names = [name for name, speech in voices.items() if speech.size >= 8 * SAMPLE_RATE_HZ]

    def excerpt(name: str, seconds: float) -> FloatArray:
        size = min(round(seconds * SAMPLE_RATE_HZ), voices[name].size)
        start = int(rng.integers(voices[name].size - size + 1))
        return voices[name][start : start + size]

    def flagged(excerpts: Iterable[list[FloatArray]]) -> float:
        heard = [network.embed(mel_windows(np.concatenate(parts))) for parts in excerpts]
        return round(float(np.mean([speaker_consistency(item) < ONE_SPEAKER_CONSISTENCY for item in heard])), 3)

    pairs = [rng.choice(names, 2, replace=False) for _ in range(count)]
    return {
        "threshold": ONE_SPEAKER_CONSISTENCY,
        "recordings_of_each_kind": count,
        "one_speaker_flagged": flagged([excerpt(str(rng.choice(names)), 12.0)] for _ in range(count)),
        "two_in_sequence_flagged": flagged(
            [excerpt(a, rng.uniform(3, 8)), excerpt(b, rng.uniform(3, 8))] for a, b in pairs
        ),
        "two_in_turns_flagged": flagged([excerpt(name, 2.0) for name in (a, b, a, b)] for a, b in pairs),
    }


def time_per_second(recordings: list[Recording], network: SpeakerNetwork) -> float:
    """Processor milliseconds per second of audio, everything but decoding included, median of 20 recordings."""
    figures = []
    for item in recordings[:20]:
        started_s = time.process_time()  # not the clock: other processes may share the core
        encode_speech(item.speech, network.embed)
        figures.append((time.process_time() - started_s) / (item.speech.size / SAMPLE_RATE_HZ) * 1000)
    return round(float(np.median(figures)), 1)


def main() -> None:
    """Prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m services.encoder.evaluate", description=main.__doc__)
    parser.add_argument("--speech-dir", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=1000, help="recordings of each kind")
    parser.add_argument("--pairs", type=int, default=100, help="recordings of one and of two speakers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network = SpeakerNetwork(Registry(EncoderSettings().models_dir).path(MODEL_NAME), threads=1)
    recordings = read_recordings(options.speech_dir, network, options.limit)
    halves = [item for item in recordings if item.corpus == HALVES_CORPUS]
    dev = [item for item in recordings if item.corpus != HALVES_CORPUS]
    figures = {
        "dev_utterances": compare_utterances(dev),
        "recording_halves": compare_halves(halves),
        "number_of_speakers": count_speakers(recordings, network, options.seed, options.pairs),
        "ms_per_second_one_core": time_per_second(halves, network),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
