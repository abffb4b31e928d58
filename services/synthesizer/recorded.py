"""Recorded speech with transcripts as training data, its phones timed by forced alignment.

Of a corpus only speakers that may be trained on are taken (`services/common/corpus.py`). What the recogniser doubts is
left out: a transcript that is not what was said teaches wrong sounds. Everything is trimmed to the words, and brought
to one loudness.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Any, Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.corpus import Recording
from services.common.decode_audio import decode_audio
from services.synthesizer.corpus_writer import CorpusWriter, Made, make_utterance_of
from services.synthesizer.forced import ForcedAligner, ForcedAlignment, aligned_symbols
from services.synthesizer.sentences import tokens_of
from services.synthesizer.text.symbols import MARKS

STYLE: Final = "recorded"
MIN_SCORE: Final = -3.2  # of the whole, in nats: right transcripts have -2.1 in the middle, wrong ones -4.4
MIN_WORD_SCORE: Final = -8.0
MAX_PAUSE_S: Final = 0.8
OPENING_S: Final = 0.05
CLOSING_S: Final = 0.1
LOUDNESS_DB: Final = -20.0  # root mean square of the words against full scale
MAX_PEAK: Final = 0.97
MIN_SPEAKER_S: Final = 10.0  # of kept speech: less gives no statistics worth having


@lru_cache(maxsize=1)
def _aligner() -> ForcedAligner:
    return ForcedAligner()


def doubt(alignment: ForcedAlignment | None) -> str | None:
    """Why an alignment is not to be learned from; None when it may be."""
    if alignment is None:
        return "unaligned"
    if alignment.score < MIN_SCORE:
        return "score"
    if min(word.score for word in alignment.words) < MIN_WORD_SCORE:
        return "word_score"
    words = alignment.words
    pauses = [after.start_s - before.end_s for before, after in zip(words, words[1:], strict=False)]
    return "pause" if max(pauses, default=0.0) > MAX_PAUSE_S else None


def loudness_normalised(samples: FloatArray, alignment: ForcedAlignment) -> FloatArray:
    """Samples (n,) at `LOUDNESS_DB` over their words; less where a peak would be cut off."""
    spans = [
        samples[max(round(word.start_s * SAMPLE_RATE_HZ), 0) : round(word.end_s * SAMPLE_RATE_HZ)]
        for word in alignment.words
    ]
    spoken = np.concatenate(spans).astype(np.float64)
    rms = max(float(np.sqrt(np.mean(spoken**2))), 1e-6)
    gain = min(10.0 ** (LOUDNESS_DB / 20.0) / rms, MAX_PEAK / max(float(np.abs(samples).max()), 1e-6))
    return np.asarray(samples * gain, np.float32)


def make_recorded(recording: Recording) -> Made | str:
    """One recording, aligned and cut; or why it is left out."""
    samples = decode_audio(recording.path.read_bytes(), field="recording").samples
    tokens = tokens_of(recording.text.lower())
    if all(token in MARKS for token in tokens):
        return "no_words"
    alignment = _aligner().align(samples, tokens)
    doubted = doubt(alignment)
    if alignment is None or doubted:
        return str(doubted)
    aligned = aligned_symbols(alignment, samples.size / SAMPLE_RATE_HZ, ".", OPENING_S, CLOSING_S)
    start = max(round(aligned.start_s * SAMPLE_RATE_HZ), 0)
    stop = start + round(sum(aligned.durations_s) * SAMPLE_RATE_HZ)
    cut = loudness_normalised(samples, alignment)[start:stop]
    return make_utterance_of(cut, aligned, speaker=recording.speaker, voice=STYLE, text=" ".join(tokens))


def recorded_speech(recordings: Sequence[Recording], workers: int) -> Iterator[Made | str]:
    """All recordings, in order."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(make_recorded, recordings, chunksize=8)


def add_recorded(writer: CorpusWriter, made: Iterator[Made | str]) -> dict[str, Any]:
    """Writes those of speakers with enough kept speech; counts for the card."""
    left_out: Counter[str] = Counter()
    by_speaker: dict[str, list[Made]] = {}
    for item in made:
        if isinstance(item, str):
            left_out[item] += 1
        else:
            by_speaker.setdefault(item.utterance.speaker, []).append(item)
    kept_s = 0.0
    for _, items in sorted(by_speaker.items()):
        seconds = sum(item.samples.size for item in items) / SAMPLE_RATE_HZ
        if seconds < MIN_SPEAKER_S:
            left_out["little_of_speaker"] += len(items)
            continue
        kept_s += seconds
        for item in items:
            writer.add(item)
    return {"hours": round(kept_s / 3600, 3), "left_out": dict(left_out)}
