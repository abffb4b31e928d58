"""Speech with the time of every phone, for training: `python -m services.synthesizer.prepare --out data/...`.

Sentences (a grammar's, the transcripts of a speech corpus, optionally a text file's) are spoken by four voices of
flite, which also says when each phone ends. A third of them is resampled, with the tempo kept, into further speakers
whose vocal tracts are shorter or longer. With `--recorded` the transcribed recordings of the corpus follow, aligned by
force (`recorded.py`), as a style of their own. The folder holds what `corpus_writer.py` says, and

    card.json       what was made, from what

`--append` adds to a folder that is there. It does not learn anything, and it keeps no audio.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from rich.progress import Progress

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, SAMPLE_RATE_HZ, FloatArray
from services.common.corpus import Recording, read_manifest, training_recordings
from services.common.wire import samples_from_s16
from services.synthesizer.align import align, parse_phones
from services.synthesizer.corpus_writer import CorpusWriter, Made, make_utterance_of
from services.synthesizer.recorded import add_recorded, recorded_speech
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


@dataclass(frozen=True)
class Order:
    """One sentence to be spoken."""

    sentence: str
    voice: str
    formant_scale: float

    @property
    def speaker(self) -> str:
        return f"{self.voice}@{self.formant_scale:.2f}"


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


def make_utterance(order: Order) -> Made | None:
    """Speaks one sentence. None when the two dictionaries disagree too much."""
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
    return make_utterance_of(cut, aligned, speaker=order.speaker, voice=order.voice, text=" ".join(tokens))


def orders(sentences: Iterable[str], rng: Random, shares: Mapping[str, float] = VOICE_SHARES) -> Iterator[Order]:
    """Who says what; `shares` of the voices in all that is said need not add up to 1."""
    for sentence in sentences:
        (voice,) = rng.choices(list(shares), weights=list(shares.values()))
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


def generate(plan: Iterator[Order], hours: float, writer: CorpusWriter, workers: int) -> dict[str, Any]:
    """Speaks so many hours; counts for the card."""
    wanted = int(hours * 3600 * FRAMES_PER_SECOND)
    before, skipped = writer.frame_count, 0
    with ProcessPoolExecutor(workers) as pool, Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("speaking", total=wanted)
        while writer.frame_count - before < wanted:
            batch = [next(plan) for _ in range(16 * workers)]
            for made in pool.map(make_utterance, batch, chunksize=4):
                if made is None:
                    skipped += 1
                else:
                    writer.add(made)
            progress.update(task, completed=min(writer.frame_count - before, wanted))
    return {"hours": round((writer.frame_count - before) / FRAMES_PER_SECOND / 3600, 3), "skipped": skipped}


def transcribed(recordings: Sequence[Recording], workers: int, writer: CorpusWriter) -> dict[str, Any]:
    """Aligns the recordings that somebody wrote down; counts for the card."""
    written = [recording for recording in recordings if recording.text]
    with Progress(disable=not sys.stderr.isatty()) as progress:
        made = progress.track(recorded_speech(written, workers), total=len(written), description="aligning")
        return add_recorded(writer, iter(made)) | {"recordings": len(written)}


def _share(text: str) -> tuple[str, float]:
    voice, _, number = text.partition("=")
    if voice not in VOICE_SHARES or not (number and float(number) >= 0):
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(VOICE_SHARES)} and a number, such as rms=0.84")
    return voice, float(number)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.prepare", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--hours", type=float, default=3.6, help="of generated speech")
    parser.add_argument("--speech-dir", type=Path, help="folder with manifest.tsv: its training transcripts are spoken")
    parser.add_argument("--recorded", action="store_true", help="its training recordings follow, too")
    parser.add_argument("--append", action="store_true", help="add to what is in the folder")
    parser.add_argument("--text", type=Path, action="append", default=[], help="plain text file to take sentences from")
    parser.add_argument(
        "--share", type=_share, action="append", default=[], metavar="VOICE=NUMBER", help="of a voice in what is said"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.recorded and not options.speech_dir:
        parser.error("--recorded needs the folder of the recordings: --speech-dir")
    if options.hours > 0 and shutil.which("flite") is None:
        print("flite is not installed; on Debian and Ubuntu: apt-get install flite", file=sys.stderr)
        return 2
    rng = Random(options.seed)  # noqa: S311
    recordings = training_recordings(read_manifest(options.speech_dir)) if options.speech_dir else []
    corpus = list(transcript_sentences(r.text for r in recordings if r.text))
    text = [s for path in options.text for s in sentences_of(path.read_text(encoding="utf-8", errors="replace"))]
    rng.shuffle(text)
    plan = orders(
        (s for s in mixed_sentences(corpus, text, rng) if any(token not in MARKS for token in tokens_of(s))),
        rng,
        {**VOICE_SHARES, **dict(options.share)},
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with CorpusWriter(options.out, append=options.append) as writer:
        made = generate(plan, options.hours, writer, options.workers)
        recorded = transcribed(recordings, options.workers, writer) if options.recorded else None
    card = {
        "hours": round(writer.frame_count / FRAMES_PER_SECOND / 3600, 3),
        "utterances": writer.utterance_count,
        "skipped": made["skipped"],
        "speakers": writer.speakers,
        "frame_channels": FRAME_CHANNELS,
        "seed": options.seed,
        "transcripts": len(corpus),
        "text_sentences": len(text),
        "recorded": recorded,
    }
    path = options.out / "card.json"
    if options.append and path.exists():
        card["added_to"] = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
