"""What an adaptation gains on held-out speakers, with recordings and sentences that it did not learn from.

    python -m benchmarks.adaptation --speech-dir DIR [--speakers N] [--sentences N] [--rounds N]

Of each speaker's recordings every fourth is kept for the vector that speech is compared with; the others are enrolled
together, with the search that a gateway makes, and learned from. Everything in one process, source-filter engine, no
marks. A JSON object for each speaker as it is done, at the end the means.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.flite_reference import read_audio
from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.sentences import SENTENCES
from services.common.adaptation_file import adaptation_bytes
from services.common.audio import FloatArray
from services.common.corpus import Recording, evaluation_recordings, read_manifest
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.recognition import recognise, word_errors, words
from services.common.settings import CommonSettings
from services.common.speaker_space import FORMANT_WARPS
from services.encoder.gradient import GradientNetwork
from services.gateway.calibration import PROOF, SEARCHED, SENTENCE, STRENGTHS, WORDS_TO_LOSE
from services.gateway.voice_search import Listened, corrected, search
from services.synthesizer.adapt import Adapter, joined
from services.synthesizer.adapt_clips import Clip

KEPT_FOR_JUDGING: Final = 4  # every so many-th recording
_log = logging.getLogger(__name__)


def calibrated(adapter: Adapter, profile: SpeakerProfile, rounds: int) -> SpeakerProfile:
    """As a gateway enrols it (`services.gateway.calibration`)."""
    encoder = GradientNetwork(Registry(CommonSettings().models_dir).path("encoder-ge2e"))

    def judge(tried: SpeakerProfile, text: str) -> float:
        return adapter.similarity(tried, [text], profile.embedding)

    start = max(
        (replace(profile, formant_warp=warp) for warp in FORMANT_WARPS), key=lambda tried: judge(tried, SENTENCE)
    )

    def listen(tried: SpeakerProfile, number: int) -> Listened:
        spoken = adapter.synthesizer.synthesize(SEARCHED[number % len(SEARCHED)], tried)
        frames = np.concatenate([chunk.frames for chunk in spoken])
        return Listened(frames, encoder.guide(adapter.engine.synthesize(frames), tried.embedding).gradient)

    def run_all(function: Callable[[int], Listened], sentences: Sequence[int]) -> list[Listened]:
        return [function(sentence) for sentence in sentences]

    def proof(tried: SpeakerProfile) -> tuple[float, int]:
        lost = sum(word_errors(words(text), recognise(adapter.speak(text, tried))) for text in PROOF)
        return adapter.similarity(tried, PROOF, profile.embedding), lost

    found = search(start, listen, rounds=rounds, run_all=run_all)
    before = proof(start)
    for strength in STRENGTHS:
        tried = corrected(start, np.float32(strength) * found.correction)
        after = proof(tried)
        if after[0] > before[0] and after[1] <= before[1] + WORDS_TO_LOSE:
            return tried
    return start


def figures_of(adapter: Adapter, speaker: SpeakerProfile, vector: FloatArray, texts: list[str]) -> dict[str, float]:
    """Cosine, word errors and DNSMOS of the texts in the voice."""
    clips = [adapter.speak(text, speaker) for text in texts]
    cosines = [adapter.embed(clip, synthesized=True) @ vector for clip in clips]
    errors = sum(word_errors(words(text), recognise(clip)) for text, clip in zip(texts, clips, strict=True))
    return {
        "similarity": round(float(np.mean(cosines)), 4),
        "wer": round(errors / sum(len(words(text)) for text in texts), 4),
        "dnsmos": round(float(np.mean([overall_mos(clip) for clip in clips])), 3),
    }


def measure(adapter: Adapter, recordings: list[Recording], texts: list[str], rounds: int) -> dict[str, Any]:
    """Of one speaker: enrolled, and adapted."""
    ordered = sorted(recordings, key=lambda recording: str(recording.path))
    judged_by = [read_audio(r.path) for r in ordered[KEPT_FOR_JUDGING - 1 :: KEPT_FOR_JUDGING]]
    clips = [
        Clip(recording.path.name, read_audio(recording.path), recording.text.lower())
        for number, recording in enumerate(ordered, start=1)
        if number % KEPT_FOR_JUDGING
    ]
    vector = adapter.embed(joined(judged_by))
    started_s, worked_s = time.perf_counter(), time.process_time()
    adapted = adapter.adapt(clips)
    took = {
        "seconds": round(time.perf_counter() - started_s, 1),
        "cpu_seconds": round(time.process_time() - worked_s, 1),
        "learned_from_s": round(adapted.seconds, 1),
        "file_bytes": len(adaptation_bytes(adapted.file())),
    }
    enrolled = calibrated(adapter, adapter.profile_of(clips), rounds)
    return {
        "enrolled": figures_of(adapter, enrolled, vector, texts),
        "adapted": figures_of(adapter, adapted.profile, vector, texts),
        **took,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speech-dir", type=Path, required=True, help="recorded speech with manifest.tsv")
    parser.add_argument("--speakers", type=int, default=0, help="at most so many; 0 means all with transcripts")
    parser.add_argument("--sentences", type=int, default=8, choices=range(1, len(SENTENCES) + 1))
    parser.add_argument("--rounds", type=int, default=30, help="of the search of an enrolment")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    torch.set_num_threads(1)
    by_speaker: dict[str, list[Recording]] = {}
    for recording in evaluation_recordings(read_manifest(arguments.speech_dir)):
        if recording.text:
            by_speaker.setdefault(recording.speaker, []).append(recording)
    chosen = sorted(by_speaker)[: arguments.speakers or None]
    adapter = Adapter(CommonSettings().models_dir)
    found = []
    for number, name in enumerate(chosen):
        first = number * arguments.sentences
        texts = [SENTENCES[(first + turn) % len(SENTENCES)] for turn in range(arguments.sentences)]
        found.append(measure(adapter, by_speaker[name], texts, arguments.rounds))
        _log.info("%s: %s", name, json.dumps(found[-1]))
    means = {
        state: {key: round(float(np.mean([item[state][key] for item in found])), 4) for key in found[0][state]}
        for state in ("enrolled", "adapted")
    }
    seconds = {key: round(float(np.median([item[key] for item in found])), 1) for key in ("seconds", "cpu_seconds")}
    print(json.dumps({"speakers": len(found), **means, **seconds, "machine": describe_machine()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
