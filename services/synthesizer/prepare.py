"""Generated speech with exact phone timings, for training: `python -m services.synthesizer.prepare --out data/...`.

Sentences (a grammar's, the transcripts of a speech corpus, optionally a text file's) are spoken by four voices of
flite, which also says when each phone ends. A third of them is resampled, with the tempo kept, into further speakers
whose vocal tracts are shorter or longer. The folder then holds:

    frames.f16      acoustic frames (N, 82) float16 of all utterances, one after the other
    utterances.jsonl one line each: speaker, voice, first frame, frame count, symbols, edges, durations in frames, text
    speakers.json   name -> profile (embedding and statistics over all that the speaker says)
    card.json       what was made, from what

It does not learn anything, and it keeps no audio.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.corpus import read_manifest, training_recordings
from services.common.models import Registry
from services.common.profile import SpeakerProfile, speaker_statistics
from services.common.settings import CommonSettings
from services.common.wire import samples_from_s16
from services.encoder import SpeakerNetwork, encode_speech
from services.encoder.model import MODEL_NAME as ENCODER_NAME
from services.synthesizer.align import align, parse_phones
from services.synthesizer.sentences import grammar_sentences, sentences_of, tokens_of, transcript_sentences
from services.synthesizer.text.phonemes import to_symbols
from services.synthesizer.text.symbols import MARKS

VOICE_SHARES: Final = {"rms": 0.43, "slt": 0.43, "awb": 0.10, "kal16": 0.04}
FORMANT_SCALES: Final = (0.95, 1.05, 1.10, 1.16)  # of further speakers; the voice's own tract is 1
SCALED_SHARE: Final = 0.35
MAX_MISMATCH: Final = 0.25  # per phone: the two dictionaries mean different words
OPENING_S: Final = 0.05
CLOSING_S: Final = 0.1
WAV_HEADER_BYTES: Final = 44
PEAK: Final = 0.7  # of every utterance: voices differ in level
EMBEDDING_SECONDS: Final = 24.0  # of speech behind a speaker's embedding


@dataclass(frozen=True)
class Order:
    """One sentence to be spoken."""

    sentence: str
    voice: str
    formant_scale: float

    @property
    def speaker(self) -> str:
        return f"{self.voice}@{self.formant_scale:.2f}"


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


def _speak(order: Order) -> tuple[FloatArray, str]:
    """Samples and the phone listing of one sentence."""
    text = " ".join(tokens_of(order.sentence))
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        command = ["flite", "-voice", order.voice, "--setf", f"duration_stretch={order.formant_scale}"]
        command += ["-psdur", "-o", str(wav), "-t", text + " "]  # with a space it is never taken for a file
        listing = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S603
        samples = samples_from_s16(wav.read_bytes()[WAV_HEADER_BYTES:])
    return samples, listing


def make_utterance(order: Order) -> tuple[Utterance, NDArray[np.float16], FloatArray] | None:
    """Speaks one sentence; frames (T, 82) and samples with it. None when the two dictionaries disagree too much."""
    from scipy.signal import resample_poly

    tokens = tokens_of(order.sentence)
    samples, listing = _speak(order)
    phones = parse_phones(listing)
    if len(phones) < 3:
        return None
    aligned = align(phones, to_symbols(tokens), OPENING_S * order.formant_scale, CLOSING_S * order.formant_scale)
    if aligned.mismatch > MAX_MISMATCH:
        return None
    start = round(aligned.start_s * SAMPLE_RATE_HZ)
    stop = start + round(sum(aligned.durations_s) * SAMPLE_RATE_HZ)
    cut = samples[start:stop]
    percent = round(order.formant_scale * 100)
    if percent != 100:
        cut = resample_poly(cut, 100, percent).astype(np.float32)
    cut = np.asarray(cut / max(float(np.abs(cut).max()), 1e-3) * PEAK, np.float32)
    frames = acoustic_frames(cut)
    durations = np.array(aligned.durations_s)
    durations *= len(frames) / durations.sum()
    utterance = Utterance(
        speaker=order.speaker,
        voice=order.voice,
        first_frame=0,
        frame_count=len(frames),
        symbols=list(aligned.symbols),
        word_edges=list(aligned.word_edges),
        durations=[round(float(d), 3) for d in durations],
        text=" ".join(tokens),
    )
    return utterance, frames.astype(np.float16), cut


def orders(sentences: Iterable[str], rng: Random) -> Iterator[Order]:
    """Who says what."""
    for sentence in sentences:
        (voice,) = rng.choices(list(VOICE_SHARES), weights=list(VOICE_SHARES.values()))
        scaled = voice != "kal16" and rng.random() < SCALED_SHARE
        yield Order(sentence, voice, rng.choice(FORMANT_SCALES) if scaled else 1.0)


def mixed_sentences(corpus: list[str], text: list[str], rng: Random) -> Iterator[str]:
    """Transcripts and text while they last, in equal parts with the grammar's sentences."""
    generated = grammar_sentences(rng)
    written = corpus + text[: max(1500, len(corpus))]
    rng.shuffle(written)
    for sentence in written:
        yield sentence
        yield next(generated)
    yield from generated


def make_corpus(plan: Iterator[Order], hours: float, out: Path, workers: int) -> dict[str, Any]:
    """Speaks until so many hours are reached; writes everything but card.json and returns counts for it."""
    embed = SpeakerNetwork(Registry(CommonSettings().models_dir).path(ENCODER_NAME), threads=1).embed
    wanted = int(hours * 3600 * FRAMES_PER_SECOND)
    spoken: dict[str, list[FloatArray]] = defaultdict(list)
    spoken_s: dict[str, float] = defaultdict(float)
    frames_by_speaker: dict[str, list[NDArray[np.float16]]] = defaultdict(list)
    total = skipped = count = 0
    with (
        ProcessPoolExecutor(workers) as pool,
        (out / "frames.f16").open("wb") as frames_file,
        (out / "utterances.jsonl").open("w", encoding="utf-8") as lines,
        Progress(disable=not sys.stderr.isatty()) as progress,
    ):
        task = progress.add_task("speaking", total=wanted)
        while total < wanted:
            batch = [next(plan) for _ in range(16 * workers)]
            for made in pool.map(make_utterance, batch, chunksize=4):
                if made is None:
                    skipped += 1
                    continue
                utterance, frames, samples = made
                line = asdict(utterance) | {"first_frame": total}
                lines.write(json.dumps(line) + "\n")
                frames_file.write(frames.tobytes())
                frames_by_speaker[utterance.speaker].append(frames)
                if spoken_s[utterance.speaker] < EMBEDDING_SECONDS:
                    spoken[utterance.speaker].append(samples)
                    spoken_s[utterance.speaker] += samples.size / SAMPLE_RATE_HZ
                total += utterance.frame_count
                count += 1
            progress.update(task, completed=min(total, wanted))
    speakers = {}
    for name, parts in sorted(frames_by_speaker.items()):
        statistics = speaker_statistics(np.concatenate(parts).astype(np.float32))
        embedding = encode_speech(np.concatenate(spoken[name]), embed, embedding_only=True).embedding
        profile = SpeakerProfile(
            embedding=embedding,
            log_f0_median=statistics.log_f0_median,
            log_f0_spread=statistics.log_f0_spread,
            mel_mean=statistics.mel_mean,
            mel_spread=statistics.mel_spread,
        )
        speakers[name] = json.loads(profile.to_json())
    (out / "speakers.json").write_text(json.dumps(speakers), encoding="utf-8")
    return {
        "hours": round(total / FRAMES_PER_SECOND / 3600, 3),
        "utterances": count,
        "skipped": skipped,
        "speakers": sorted(speakers),
        "frame_channels": FRAME_CHANNELS,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--hours", type=float, default=3.6)
    parser.add_argument("--speech-dir", type=Path, help="folder with manifest.tsv: its training transcripts are spoken")
    parser.add_argument("--text", type=Path, action="append", default=[], help="plain text file to take sentences from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if shutil.which("flite") is None:
        print("flite is not installed; on Debian and Ubuntu: apt-get install flite", file=sys.stderr)
        return 2
    rng = Random(options.seed)  # noqa: S311
    corpus: list[str] = []
    if options.speech_dir:
        recordings = training_recordings(read_manifest(options.speech_dir))
        corpus = list(transcript_sentences(r.text for r in recordings if r.text))
    text = [s for path in options.text for s in sentences_of(path.read_text(encoding="utf-8", errors="replace"))]
    rng.shuffle(text)
    options.out.mkdir(parents=True, exist_ok=True)
    plan = orders(
        (s for s in mixed_sentences(corpus, text, rng) if any(token not in MARKS for token in tokens_of(s))), rng
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    card = make_corpus(plan, options.hours, options.out, options.workers)
    card |= {"seed": options.seed, "transcripts": len(corpus), "text_sentences": len(text)}
    (options.out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
