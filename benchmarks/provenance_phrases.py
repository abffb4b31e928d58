"""How well spoken consents are told from everything else: `python -m benchmarks.provenance_phrases --speech-dir DIR`.

Phrases are read aloud by the project's synthesizer in the voices of held-out speakers, as nobody has recorded phrases
that are drawn at random: what is measured is the recogniser on clear machine speech, clean and disturbed, and on what
must be refused. Speakers are compared with the recordings of DIR themselves (manifest.tsv, see
services/common/corpus.py). One JSON object on stdout.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.signal import fftconvolve, resample_poly

from benchmarks.flite_reference import read_audio
from benchmarks.machine import describe_machine
from benchmarks.reading_aloud import profile_of, read_aloud
from benchmarks.sentences import SENTENCES
from benchmarks.speakers import embed, held_out, join
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.corpus import Recording, read_manifest
from services.common.decode_audio import decode_audio
from services.common.encode_audio import encode_audio
from services.gateway.consents.fingerprint import MIN_AGREEING, agreement, fingerprint, is_same
from services.gateway.consents.listening import listen
from services.gateway.consents.phrase import Phrase
from services.gateway.consents.spoken import MIN_RIGHT, SAME_SPEAKER
from services.gateway.consents.words import WORDS

NAMES: Final = ("Ada Lovelace", "Krzysztof Brzezinski", "Li Wei", "Maria Fernandez", "John Smith", "Aoife Kelly")
CONSENT_S: Final = 12.0
SAMPLE_S: Final = 10.0
THRESHOLDS: Final = (0.7, 0.75, 0.8, 0.85)
SEED: Final = 7
REPLAYED_S: Final = 3


def disturbed(samples: FloatArray) -> dict[str, FloatArray]:
    """The same recording as it may arrive."""
    noise = np.random.default_rng(0).standard_normal(samples.size).astype(np.float32)
    level = float(np.sqrt(np.mean(samples**2)))
    room = np.random.default_rng(1).standard_normal(4000) * np.exp(-np.arange(4000) / 800)
    room[0] = 6.0
    return {
        "clean": samples,
        "opus": decode_audio(encode_audio(samples, "opus")).samples,
        "telephone": resample_poly(resample_poly(samples, 1, 2), 2, 1).astype(np.float32),
        "noise_20_db": samples + noise * level / 10,
        "noise_10_db": samples + noise * level / 10**0.5,
        "room": (fftconvolve(samples, room)[: samples.size] / 6.0).astype(np.float32),
    }


def wrong(phrase: Phrase, drawn: random.Random) -> dict[str, str]:
    """Texts that are not that phrase."""
    before, _, words = phrase.text.partition(" Today I say: ")
    others = ", ".join(drawn.sample([word for word in WORDS if word not in phrase.words], len(phrase.words)))
    mixed = [*phrase.words[:3], *drawn.sample([word for word in WORDS if word not in phrase.words], 3)]
    name = f"My name is {phrase.who}."
    return {
        "words_of_another_phrase": f"{before} Today I say: {others}.",
        "half_of_the_words": f"{before} Today I say: {', '.join(mixed)}.",
        "i_do_not_allow": phrase.text.replace("I allow", "I do not allow"),
        "other_statement": f"{name} {' '.join(drawn.sample(SENTENCES, 3))} Today I say: {words}",
        "statement_cut_short": phrase.text.replace(" to be made and used to speak words that I have never said", ""),
        "words_alone": ", ".join(phrase.words) + ".",
    }


def is_accepted(samples: FloatArray, phrase: Phrase) -> tuple[bool, int]:
    """As `verify_spoken` judges the words, and how many were right."""
    heard = listen(samples, phrase)
    right = heard.right(phrase) if heard.complete else 0
    return heard.complete and not heard.negated and right >= MIN_RIGHT, right


def phrases(speech_dir: Path, count: int) -> dict[str, Any]:
    """Shares of accepted readings, by how they arrive, and by what is wrong with them."""
    profiles = [profile_of(speaker.material) for speaker in held_out(speech_dir, 20.0)]
    drawn = random.Random(SEED)
    accepted: dict[str, list[bool]] = {}
    right: dict[str, list[int]] = {}
    for number in track(range(count), "phrases", disable=not sys.stderr.isatty()):
        phrase = Phrase(NAMES[number % len(NAMES)], "consent", tuple(drawn.sample(WORDS, 6)))
        speaker, speed = profiles[number % len(profiles)], drawn.uniform(0.85, 1.15)
        readings = disturbed(read_aloud(phrase.text, speaker, seed=number, speed=speed))
        readings |= {
            name: read_aloud(text, speaker, seed=number, speed=speed) for name, text in wrong(phrase, drawn).items()
        }
        for name, samples in readings.items():
            yes, correct = is_accepted(np.asarray(samples, np.float32), phrase)
            accepted.setdefault(name, []).append(yes)
            right.setdefault(name, []).append(correct)
    return {
        "phrases": count,
        "accepted_share": {name: round(float(np.mean(values)), 4) for name, values in accepted.items()},
        "words_right_mean": {name: round(float(np.mean(values)), 3) for name, values in right.items()},
        "words_right_lowest": {name: min(values) for name, values in right.items()},
    }


def speaker_trials(speech_dir: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines of consent-long and sample-long recordings: of the same speaker, and of different ones."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in read_manifest(speech_dir):
        if recording.speaker:
            by_speaker.setdefault(recording.speaker, []).append(recording)
    consents, samples = [], []
    for recordings in track([found for found in by_speaker.values() if len(found) >= 8], "speakers", disable=True):
        parts = _parts(sorted(recordings, key=lambda item: str(item.path)))
        consents.append(embed(next(parts)))
        samples.append(embed(next(parts)))
    cosines = (np.stack(consents) @ np.stack(samples).T).astype(np.float64)
    own = np.eye(len(cosines), dtype=bool)
    return cosines[own], cosines[~own]


def _parts(recordings: list[Recording]) -> Iterator[FloatArray]:
    """Of a speaker's recordings first a consent's length, then that of a voice sample."""
    waiting = iter(recordings)
    for seconds in (CONSENT_S, SAMPLE_S):
        clips: list[FloatArray] = []
        while sum(clip.size for clip in clips) < seconds * SAMPLE_RATE_HZ:
            clip = next(waiting, None)
            if clip is None:
                break
            clips.append(read_audio(clip.path))
        yield join(clips)[: int(seconds * SAMPLE_RATE_HZ)]


def speakers(speech_dir: Path) -> dict[str, Any]:
    """Errors of the comparison of a consent's and a voice sample's speaker, at several thresholds."""
    same, different = speaker_trials(speech_dir)
    at = {
        f"{threshold:.2f}": {
            "false_refusal_rate": round(float(np.mean(same < threshold)), 5),
            "false_accept_rate": round(float(np.mean(different >= threshold)), 5),
        }
        for threshold in sorted({*THRESHOLDS, SAME_SPEAKER})
    }
    return {
        "speakers": int(same.size),
        "same_lowest": round(float(same.min()), 3),
        "different_highest": round(float(different.max()), 3),
        "threshold": SAME_SPEAKER,
        "at_threshold": at,
    }


def copies(samples: FloatArray, drawn: random.Random) -> dict[str, FloatArray]:
    """What somebody may do to a recording before sending it again."""
    start = drawn.randrange(max(samples.size - REPLAYED_S * SAMPLE_RATE_HZ, 1))
    return {
        **disturbed(samples),
        "mp3": decode_audio(encode_audio(samples, "mp3")).samples,
        "aac": decode_audio(encode_audio(samples, "aac")).samples,
        "quieter_14_db": samples * np.float32(0.2),
        "three_seconds": samples[start : start + REPLAYED_S * SAMPLE_RATE_HZ],
        "one_percent_faster": _faster(samples, 1.01),
        "three_percent_faster": _faster(samples, 1.03),
    }


def _faster(samples: FloatArray, speed: float) -> FloatArray:
    places = np.arange(0, samples.size - 1, speed)
    return np.asarray(np.interp(places, np.arange(samples.size), samples), np.float32)


def replays(speech_dir: Path, count: int) -> dict[str, Any]:
    """Share of copies that are found, and how near unrelated recordings of other texts come to that."""
    drawn = random.Random(SEED)
    long_enough = [found for found in read_manifest(speech_dir) if found.seconds >= REPLAYED_S + 2]
    recordings = [read_audio(found.path) for found in drawn.sample(long_enough, count)]
    kept = [fingerprint(samples) for samples in recordings]
    found: dict[str, list[bool]] = {}
    for samples, original in zip(recordings, kept, strict=True):
        for name, copy in copies(samples, drawn).items():
            found.setdefault(name, []).append(is_same(*agreement(fingerprint(copy), original.rows())))
    unrelated = [agreement(one, other.rows())[0] for one in kept for other in kept if one is not other]
    return {
        "recordings": count,
        "found_share": {name: round(float(np.mean(values)), 4) for name, values in found.items()},
        "unrelated_pairs": len(unrelated),
        "unrelated_most_agreeing": max(unrelated),
        "needed_agreeing": MIN_AGREEING,
    }


def measure(speech_dir: Path, count: int = 40) -> dict[str, Any]:
    """What docs/architecture/06-consent.md tells."""
    return {
        "words": phrases(speech_dir, count),
        "min_right": MIN_RIGHT,
        "speakers": speakers(speech_dir),
        "replays": replays(speech_dir, count),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech-dir", type=Path, required=True)
    parser.add_argument("--phrases", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="accepted for likeness with other benchmarks")
    options = parser.parse_args()
    print(json.dumps({"machine": describe_machine(), **measure(options.speech_dir, options.phrases)}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
