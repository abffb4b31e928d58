"""The whole voice chain as a user meets it: enrol a recording over HTTP, speak, measure what comes back.

    python -m benchmarks.voice --json [--speech-dir DIR] [--speakers N] [--sentences N] [--texts N] [--no-shorter]

DIR holds a manifest.tsv (see services/common/corpus.py); its held-out speakers are cloned. Without DIR the demo's
synthetic persona is, and retrieval and verification, which need several speakers, are left out.
One JSON object on stdout; progress on stderr. What the keys mean stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.io import wavfile

import likeness
from benchmarks.flite_reference import path_of, read_audio
from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.sentences import SENTENCES
from benchmarks.slips import SlipFinder, bad_share
from benchmarks.speakers import Speaker, embed, held_out, persona
from benchmarks.texts import some_texts
from benchmarks.verification import equal_error_rate, retrieval_top1, trial_scores
from likeness._stack import Stack, free_ports, local_servers
from services.common.audio import SAMPLE_RATE_HZ, FloatArray, track_pitch
from services.common.recognition import recognise, word_errors, words

REFERENCE_S: Final = 10.0
OTHER_REFERENCES_S: Final = (1.0, 3.0, 5.0)
SEMITONES_PER_LOG: Final = 12.0 / np.log(2.0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Spoken:
    """One sentence in one cloned voice, and what was measured on it."""

    speaker: int
    sentence: int
    samples: FloatArray
    embedding: FloatArray
    log_f0: float
    rtf: float
    ttfa_ms: float


@contextmanager
def running_stack() -> Iterator[likeness.Client]:
    """The local stack in a temporary folder, and a client of it."""
    with tempfile.TemporaryDirectory(prefix="likeness-benchmark-") as folder:
        (port,) = free_ports(1)
        servers = local_servers(Path(folder), http_port=port, prefer_default_ports=False)
        with Stack(servers, Path(folder) / "logs"), likeness.Client(f"http://127.0.0.1:{port}") as client:
            yield client


def wav_bytes(samples: FloatArray) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, SAMPLE_RATE_HZ, (np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return buffer.getvalue()


def median_log_f0(samples: FloatArray) -> float:
    log_f0, voicing = track_pitch(samples)
    voiced = log_f0[voicing >= 0.5]
    return float(np.median(voiced)) if voiced.size else float("nan")


class Cloning:
    """Enrols speakers and lets them speak."""

    def __init__(self, client: likeness.Client) -> None:
        self._client = client
        consent = client.voice_consents.create(
            who="speakers of the benchmark's corpus",
            kind="attested",
            attested_by="whoever runs the benchmark",
            evidence="recordings published for research under the licences in the corpus's README",
        )
        self._consent = consent.id

    def enrol(self, name: str, reference: FloatArray) -> str:
        voice = self._client.voices.enrol(name, wav_bytes(reference), consent=self._consent)
        return str(voice.id)

    def samples_of(self, text: str, voice: str, seed: int) -> tuple[FloatArray, likeness.SpeechFigures]:
        """Speech as 16 kHz mono samples (n,), and what the service reports of it."""
        speech = self._client.speak(text, voice=voice, format="wav", seed=seed)
        rate, s16 = wavfile.read(io.BytesIO(speech.audio))
        if rate != SAMPLE_RATE_HZ:
            raise RuntimeError(f"the service answered with {rate} Hz")
        return s16.astype(np.float32) / 32768.0, speech.figures

    def speak(self, voice: str, speaker: int, sentence: int) -> Spoken:
        samples, figures = self.samples_of(SENTENCES[sentence], voice, sentence)
        return Spoken(
            speaker,
            sentence,
            samples,
            embed(samples),
            median_log_f0(samples),
            float(figures.real_time_factor or 0.0),
            float(figures.time_to_first_audio_ms or 0.0),
        )


def word_error_rate(spoken: dict[int, FloatArray]) -> float:
    """Errors over words, of samples by sentence number."""
    errors = sum(word_errors(words(SENTENCES[i]), recognise(samples)) for i, samples in spoken.items())
    return errors / sum(len(words(SENTENCES[i])) for i in spoken)


def slips(cloning: Cloning, voices: list[str], count: int) -> dict[str, Any]:
    """Share of texts, of one word to four hundred, that are not spoken word by word; the voices take turns."""
    finder = SlipFinder()
    judged = []
    for number, text in enumerate(some_texts(count)):
        found = finder.slips(cloning.samples_of(text, voices[number % len(voices)], number)[0], text)
        judged.append(found)
        if found:
            _log.info("%s in: %.80s", found, text)
    return bad_share(judged)


def resemblance(spoken: list[Spoken], speakers: list[Speaker]) -> dict[str, Any]:
    """How much the voices are those of the references."""
    own = np.array([item.embedding @ speakers[item.speaker].vector for item in spoken])
    f0 = [item.log_f0 - median_log_f0(speakers[item.speaker].material) for item in spoken]
    figures: dict[str, Any] = {
        "similarity_mean": round(float(own.mean()), 4),
        "f0_error_semitones": round(float(np.nanmean(np.abs(f0)) * SEMITONES_PER_LOG), 3),
    }
    if len(speakers) > 1:
        embeddings = np.stack([item.embedding for item in spoken])
        enrolled = np.stack([speaker.vector for speaker in speakers])
        numbers = [item.speaker for item in spoken]
        figures["retrieval_top1"] = round(retrieval_top1(embeddings, numbers, enrolled), 4)
        figures["sv_eer"] = round(equal_error_rate(*trial_scores(embeddings, numbers, enrolled)), 4)
    return figures


def measure(
    client: likeness.Client, speakers: list[Speaker], sentence_count: int, text_count: int, *, shorter: bool = True
) -> dict[str, Any]:
    """All figures, those of shorter references if asked for.

    The speakers take turns over the sentences until each has spoken twice and each was said once.
    """
    cloning = Cloning(client)
    voices = []
    for speaker in speakers:
        _log.info("enrolling %s", speaker.name)
        voices.append(cloning.enrol(f"{speaker.name} 10 s", speaker.reference(REFERENCE_S)))
    spoken = []
    for turn in range(max(sentence_count, 2 * len(speakers))):
        number = turn % len(speakers)
        spoken.append(cloning.speak(voices[number], number, turn % sentence_count))
    _log.info("recognising words")
    wer = word_error_rate({item.sentence: item.samples for item in spoken[:sentence_count]})
    wer_flite = word_error_rate({i: read_audio(path_of(i)) for i in range(sentence_count)})
    _log.info("looking for slips in %d texts", text_count)
    bad = slips(cloning, voices, text_count) if text_count else {}
    return {
        "speakers": len(speakers),
        "sentences": sentence_count,
        "utterances": len(spoken),
        "wer": round(wer, 4),
        "wer_flite": round(wer_flite, 4),
        "wer_excess": round(wer - wer_flite, 4),
        **bad,
        **resemblance(spoken, speakers),
        "dnsmos": round(float(np.mean([overall_mos(item.samples) for item in spoken])), 3),
        "rtf": round(float(np.median([item.rtf for item in spoken])), 4),
        "ttfa_ms": round(float(np.median([item.ttfa_ms for item in spoken])), 1),
        "by_reference_seconds": by_reference(cloning, speakers) if shorter else {},
    }


def by_reference(cloning: Cloning, speakers: list[Speaker]) -> dict[str, Any]:
    """Resemblance for shorter references, of the speakers whose vector comes from other recordings."""
    numbers = [i for i, speaker in enumerate(speakers) if speaker.several_recordings] or list(range(len(speakers)))
    table: dict[str, Any] = {}
    for seconds in OTHER_REFERENCES_S:
        _log.info("references of %g s", seconds)
        spoken, refused = [], 0
        for number in numbers:
            try:
                voice = cloning.enrol(f"{speakers[number].name} {seconds:g} s", speakers[number].reference(seconds))
            except likeness.LikenessAPIError as error:
                _log.info("%s: %s", speakers[number].name, error)
                refused += 1
                continue
            spoken.append(cloning.speak(voice, number, number % len(SENTENCES)))
        table[f"{seconds:g}"] = {
            "refused": refused,
            **(resemblance(spoken, speakers) if spoken else {}),
        }
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the voice chain over HTTP")
    parser.add_argument("--json", action="store_true", help="compact JSON on one line")
    parser.add_argument("--speech-dir", type=Path, help="recorded speech with manifest.tsv")
    parser.add_argument("--speakers", type=int, default=0, help="at most so many speakers; 0 means all held-out ones")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), choices=range(1, len(SENTENCES) + 1))
    parser.add_argument(
        "--texts", type=int, default=200, choices=range(201), metavar="0-200", help="texts to look for slips in"
    )
    parser.add_argument(
        "--shorter", action=argparse.BooleanOptionalAction, default=True, help="also references of 1, 3 and 5 s"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        speakers = held_out(arguments.speech_dir, REFERENCE_S) if arguments.speech_dir else persona()
    except (FileNotFoundError, ValueError) as error:
        print(f"--speech-dir: {error}", file=sys.stderr)
        return 2
    if arguments.speakers:
        speakers = speakers[: arguments.speakers]
    with running_stack() as client:
        figures = measure(client, speakers, arguments.sentences, arguments.texts, shorter=arguments.shorter)
    figures["machine"] = describe_machine()
    print(json.dumps(figures, indent=None if arguments.json else 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
