"""Copy-synthesis of held-out recordings: what the vocoder loses when it is given perfect frames, and how fast it is.

    python -m benchmarks.vocoder --json [--speech-dir DIR] [--engine E] [--limit N] [--sheet FILE.png]

DIR holds a manifest.tsv (see services/common/corpus.py); its recordings of split `dev` are copied, speaker by speaker
in turn. Without DIR the demo's synthetic persona is. One JSON object on stdout, progress on stderr; the keys of the
served engine stand at the top, those of every engine under `engines`. Speed is processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.flite_reference import read_audio
from benchmarks.machine import describe_machine
from benchmarks.mos import overall_mos
from benchmarks.speakers import PERSONA, embed
from benchmarks.vocoder_measures import (
    Analysis,
    analyse,
    describe,
    griffin_lim,
    mel_cepstral_distortion_db,
    pitch_errors,
)
from services.common.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.common.corpus import read_manifest
from services.common.errors import LikenessError
from services.vocoder import Engine, load_engines
from services.vocoder.settings import VocoderSettings

SHORTEST_S: Final = 2.5  # the encoder wants a second of speech
PERSONA_PIECE_S: Final = 4.0
STREAMS: Final = (4, 16)
STREAM_FRAMES: Final = 160  # two seconds each
FIRST_FRAMES: Final = 2  # at a time, until there is sound


def recordings(speech_dir: Path | None, limit: int) -> list[FloatArray]:
    """At most `limit` held-out recordings as 16 kHz mono, whole frames, speakers in turn."""
    if speech_dir is None:
        samples = read_audio(next(iter(sorted(PERSONA.glob("*.flac")))))
        piece = int(PERSONA_PIECE_S * SAMPLE_RATE_HZ)
        found = [samples[start : start + piece] for start in range(0, samples.size - piece + 1, piece)][:limit]
    else:
        by_speaker: dict[str, list[Path]] = {}
        for row in sorted(read_manifest(speech_dir), key=lambda row: (-row.seconds, str(row.path))):
            if row.split == "dev" and row.seconds >= SHORTEST_S:
                by_speaker.setdefault(row.speaker, []).append(row.path)
        turns = max((len(paths) for paths in by_speaker.values()), default=0)
        order = [paths[turn] for turn in range(turns) for _, paths in sorted(by_speaker.items()) if turn < len(paths)]
        found = [read_audio(path) for path in order[:limit]]
    return [samples[: samples.size // HOP_SAMPLES * HOP_SAMPLES] for samples in found]


@dataclass(frozen=True, eq=False)
class Original:
    """A recording and what copies are compared with."""

    samples: FloatArray
    frames: FloatArray
    analysis: Analysis
    embedding: FloatArray
    dnsmos: float


def describe_original(samples: FloatArray) -> Original:
    return Original(samples, acoustic_frames(samples), analyse(samples), embed(samples), overall_mos(samples))


def measure(
    name: str, make: Callable[[FloatArray], FloatArray], originals: list[Original]
) -> tuple[dict[str, Any], list[FloatArray]]:
    """Quality of one engine over all recordings, and its copies."""
    cosines, scores, distortions, worked_s = [], [], [], 0.0
    cents: list[float] = []
    differs: list[bool] = []
    copies = []
    for number, original in enumerate(originals):
        print(f"{name}: {number + 1} of {len(originals)}", file=sys.stderr)
        began_s = time.process_time()
        copy = make(original.frames)
        worked_s += time.process_time() - began_s
        copies.append(copy)
        analysis: Analysis = analyse(copy)
        distortions.append(mel_cepstral_distortion_db(original.analysis, analysis))
        errors, different = pitch_errors(original.analysis, analysis)
        cents.extend(errors.tolist())
        differs.extend(different.tolist())
        scores.append(overall_mos(copy))
        try:
            cosines.append(float(embed(copy) @ original.embedding))
        except LikenessError:  # what does not sound like speech has no speaker
            cosines.append(0.0)
    rtf = worked_s / (sum(original.samples.size for original in originals) / SAMPLE_RATE_HZ)
    return {
        "rtf_single": round(rtf, 4),
        "samples_per_second_per_core": round(SAMPLE_RATE_HZ / rtf),
        "speaker_cosine": describe(cosines),
        "dnsmos": describe(scores),
        "dnsmos_drop": round(float(np.mean([original.dnsmos for original in originals]) - np.mean(scores)), 4),
        "mcd_db": describe(distortions),
        "f0_rmse_cents": round(float(np.sqrt(np.mean(np.square(cents)))), 1) if cents else None,
        "f0_median_cents": round(float(np.median(np.abs(cents))), 1) if cents else None,
        "voicing_error": describe([float(value) for value in differs]),
    }, copies


def measure_streams(engine: Engine, frames: FloatArray) -> dict[str, Any]:
    """Time to the first samples, and seconds of sound per second with several streams on all cores."""
    looped = np.tile(frames, (-(-STREAM_FRAMES // len(frames)), 1))[:STREAM_FRAMES]
    first_ms = []
    for seed in range(10):
        began_s = time.perf_counter()
        stream, at = engine.stream(seed=seed), 0
        while not stream.push(looped[at : at + FIRST_FRAMES]).size:
            at += FIRST_FRAMES
        first_ms.append(1000 * (time.perf_counter() - began_s))
    found: dict[str, Any] = {"ttfa_ms": round(float(np.median(first_ms)), 2)}
    for streams in STREAMS:
        began_s = time.perf_counter()
        with ThreadPoolExecutor(streams) as pool:
            list(pool.map(lambda seed: engine.synthesize(looped, seed), range(streams)))
        elapsed_s = time.perf_counter() - began_s
        found[f"throughput_{streams}"] = round(streams * looped.shape[0] * HOP_SAMPLES / SAMPLE_RATE_HZ / elapsed_s, 2)
    return found


def draw_sheet(path: Path, rows: Mapping[str, FloatArray]) -> None:
    """One spectrogram per engine under that of the recording."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from services.common.audio import log_mel

    figure, axes = pyplot.subplots(len(rows), 1, figsize=(10, 2.2 * len(rows)), sharex=True, layout="constrained")
    for axis, (name, samples) in zip(np.atleast_1d(axes), rows.items(), strict=True):
        seconds = samples.size / SAMPLE_RATE_HZ
        axis.imshow(log_mel(samples).T, origin="lower", aspect="auto", vmin=-10, vmax=2, extent=(0, seconds, 0, 80))
        axis.set_ylabel(name)
    axis.set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def run(speech_dir: Path | None, only: str | None, limit: int, sheet: Path | None) -> dict[str, Any]:
    settings = VocoderSettings()
    engines = load_engines(settings.models_dir)
    served = only if only is not None and only in engines else settings.vocoder_engine
    originals = [describe_original(samples) for samples in recordings(speech_dir, limit)]
    makers: dict[str, Callable[[FloatArray], FloatArray]] = {"griffin_lim": griffin_lim}
    makers |= {name: engine.synthesize for name, engine in engines.items()}
    results: dict[str, dict[str, Any]] = {}
    rows = {"recording": originals[0].samples}
    for name, make in makers.items():
        if only not in (None, name):
            continue
        make(originals[0].frames[:8])  # compiles
        results[name], copies = measure(name, make, originals)
        rows[name] = copies[0]
        if name in engines:
            results[name] |= measure_streams(engines[name], originals[0].frames)
    for name, found in results.items():
        found["weights_mb"] = round(engines[name].weight_bytes / 1e6, 2) if name in engines else 0.0
    if sheet:
        draw_sheet(sheet, rows)
    return {
        "benchmark": "vocoder",
        "engine": served,
        **results.get(served, {}),
        "dnsmos_recording": describe([original.dnsmos for original in originals]),
        "recordings": len(originals),
        "seconds": round(sum(original.samples.size for original in originals) / SAMPLE_RATE_HZ, 1),
        "material": "held-out recordings" if speech_dir else "the demo's synthetic persona",
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "machine": describe_machine(),
        "engines": results,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Benchmark of the vocoder by copy-synthesis")
    parser.add_argument("--json", action="store_true", help="print one JSON object (the default, and all there is)")
    parser.add_argument("--speech-dir", type=Path, help="folder with manifest.tsv; the demo's persona without it")
    parser.add_argument("--engine", choices=["griffin_lim", "draft", "wavenet"], help="measure this one alone")
    parser.add_argument("--limit", type=int, default=24, help="recordings at most")
    parser.add_argument("--sheet", type=Path, help="write a sheet of spectrograms here")
    arguments = parser.parse_args()
    if arguments.limit < 1:
        parser.error("--limit must be at least 1")
    result = run(arguments.speech_dir, arguments.engine, arguments.limit, arguments.sheet)
    print(json.dumps(result, indent=2 if sys.stdout.isatty() else None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
