"""The figures of the model card: `python -m services.synthesizer.evaluate [--sentences 50]`, one JSON object.

The learned voice says the evaluation sentences through the vocoder's draft engine, which needs no weights: words that
pocketsphinx gets wrong, DNSMOS, speed. It needs the `test` extra. How well strangers are imitated is measured on the
whole chain by `python -m benchmarks.voice`.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any, Final

import numpy as np
from rich.progress import track

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.sentences import SENTENCES
from services.common.audio import FRAMES_PER_SECOND, FloatArray
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.recognition import recognise, word_errors, words
from services.common.settings import CommonSettings
from services.synthesizer.engine import STYLE, Synthesizer
from services.synthesizer.network import Network
from services.vocoder.draft import DraftEngine
from services.vocoder.engines import Engine

TEN_WORDS: Final = "The captain asked everyone to remain calm and stay seated."


def speak(synthesizer: Synthesizer, text: str, speaker: SpeakerProfile) -> tuple[FloatArray, float, float]:
    """Frames (T, 82), seconds to the first chunk, seconds in all."""
    started_s = time.perf_counter()
    first_s = 0.0
    parts = []
    for chunk in synthesizer.synthesize(text, speaker):
        first_s = first_s or time.perf_counter() - started_s
        parts.append(chunk.frames)
    return np.concatenate(parts), first_s, time.perf_counter() - started_s


def word_error_rate(clips: list[FloatArray]) -> float:
    """Errors over words, of clips of the first evaluation sentences."""
    errors = sum(word_errors(words(SENTENCES[i]), recognise(clip)) for i, clip in enumerate(clips))
    return round(errors / sum(len(words(SENTENCES[i])) for i in range(len(clips))), 4)


def evaluate_voice(synthesizer: Synthesizer, speaker: SpeakerProfile, count: int) -> dict[str, Any]:
    clips, seconds, worked_s = [], 0.0, 0.0
    for sentence in track(SENTENCES[:count], "speaking"):
        frames, _, took_s = speak(synthesizer, sentence, speaker)
        seconds += len(frames) / FRAMES_PER_SECOND
        worked_s += took_s
        clips.append(np.asarray(Engine(DraftEngine()).synthesize(frames), np.float32))
    first_ms = [1000 * speak(synthesizer, TEN_WORDS, speaker)[1] for _ in range(10)]
    return {
        "wer": word_error_rate(clips),
        "dnsmos": round(float(np.mean([overall_mos(clip) for clip in clips])), 3),
        "rtf": round(worked_s / seconds, 4),
        "first_chunk_ms": round(float(np.median(first_ms)), 1),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.evaluate", description=__doc__)
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), choices=range(1, len(SENTENCES) + 1))
    options = parser.parse_args(arguments)
    network = Network(Registry(CommonSettings().models_dir))
    synthesizer = Synthesizer(network)
    speak(synthesizer, TEN_WORDS, network.styles[STYLE])  # loads the dictionary
    count = options.sentences
    figures: dict[str, Any] = {"sentences": count, "machine": describe_machine()}
    figures["flite_rms"] = {"wer": word_error_rate([read_audio(path_of(i)) for i in range(count)])}
    figures["synthesizer"] = evaluate_voice(synthesizer, network.styles[STYLE], count)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
