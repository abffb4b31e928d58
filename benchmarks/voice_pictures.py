"""What clones sound like, to be seen: recordings of five held-out speakers, and their clones saying the same sentence.

    python -m benchmarks.voice_pictures --speech-dir DIR [--out docs/images/voices.png]

Each row is a speaker who was never trained on. Left a recording that was not part of the reference, right the clone,
made over HTTP from ten seconds of other recordings. Grey is the spectrum up to 5 kHz, red the pitch.
The picture holds no sound; recordings stay where they are.
"""

from __future__ import annotations

import argparse
import io
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.flite_reference import read_audio
from benchmarks.speakers import PAUSE_S, embed, join
from benchmarks.voice import REFERENCE_S, Cloning, running_stack
from services.common.audio import HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray, track_pitch
from services.common.corpus import Recording, evaluation_recordings, read_manifest

OUT: Final = Path(__file__).resolve().parents[1] / "docs" / "images" / "voices.png"
PAIRS: Final = 5
MIN_S, MAX_S = 2.5, 4.5  # of the recordings shown
SHOWN_HZ: Final = 5000
WINDOW: Final = 512
RANGE_DB: Final = 55.0
PITCH_HZ: Final = (60.0, 400.0)
COLOURS: Final = 48


@dataclass(frozen=True, eq=False)
class Pair:
    """A recording (n,) and what the speaker's clone made of the same sentence (m,), both 16 kHz."""

    speaker: str
    sentence: str
    recording: FloatArray
    clone: FloatArray

    @property
    def similarity(self) -> float:
        return float(embed(self.recording) @ embed(self.clone))


def choose(speech_dir: Path) -> list[tuple[Recording, list[Recording]]]:
    """Five held-out speakers, each with a transcribed recording to show and those that make its reference."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in evaluation_recordings(read_manifest(speech_dir)):
        if recording.text:
            by_speaker.setdefault(recording.speaker, []).append(recording)
    chosen = []
    for _, recordings in sorted(by_speaker.items()):
        ordered = sorted(recordings, key=lambda recording: str(recording.path))
        shown = next((r for r in reversed(ordered) if MIN_S <= r.seconds <= MAX_S), None)
        reference: list[Recording] = []
        for recording in ordered:
            if sum(r.seconds + PAUSE_S for r in reference) < REFERENCE_S and recording is not shown:
                reference.append(recording)
        if shown is not None:
            chosen.append((shown, reference))
    if len(chosen) < PAIRS:
        raise ValueError(f"{speech_dir} has {len(chosen)} held-out speakers with transcripts; {PAIRS} are needed")
    return chosen[:: len(chosen) // PAIRS][:PAIRS]


def make_pairs(speech_dir: Path) -> list[Pair]:
    """Clones all five and lets them speak."""
    pairs = []
    with running_stack() as client:
        cloning = Cloning(client)
        for number, (shown, reference) in enumerate(choose(speech_dir)):
            material = join([read_audio(recording.path) for recording in reference])
            voice = cloning.enrol(shown.speaker, material[: round(REFERENCE_S * SAMPLE_RATE_HZ)])
            sentence = f"{shown.text.capitalize()}."
            clone, _ = cloning.samples_of(sentence, voice, number)
            pairs.append(Pair(shown.speaker, sentence, read_audio(shown.path), clone))
    return pairs


def spectrogram_db(samples: FloatArray) -> FloatArray:
    """Power in decibel up to `SHOWN_HZ`, shape (bins, T), against its own peak."""
    from scipy.signal import stft

    _, _, spectrum = stft(samples, SAMPLE_RATE_HZ, nperseg=WINDOW, noverlap=WINDOW - HOP_SAMPLES)
    power = 20.0 * np.log10(np.abs(spectrum) + 1e-7)
    return np.asarray(power[: SHOWN_HZ * WINDOW // SAMPLE_RATE_HZ] - power.max(), np.float32)


def trimmed(samples: FloatArray) -> FloatArray:
    """Without the silence at both ends, so that the pictures begin together."""
    loud = np.flatnonzero(np.abs(samples) > 0.05 * np.abs(samples).max())
    margin = SAMPLE_RATE_HZ // 10
    return samples[max(loud[0] - margin, 0) : loud[-1] + margin]


def draw(pairs: list[Pair]) -> Any:
    """The sheet, as a picture of Pillow's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, rows = pyplot.subplots(len(pairs), 2, figsize=(11, 2.1 * len(pairs)), dpi=90, layout="constrained")
    for pair, axes in zip(pairs, rows, strict=True):
        sides = [trimmed(pair.recording), trimmed(pair.clone)]
        end_s = max(map(len, sides)) / SAMPLE_RATE_HZ
        titles = f"{pair.speaker}, recorded", f"clone (cosine to the recording {pair.similarity:.2f})"
        for axis, samples, title in zip(axes, sides, titles, strict=True):
            length_s = samples.size / SAMPLE_RATE_HZ
            axis.imshow(
                spectrogram_db(samples), origin="lower", aspect="auto", cmap="gray_r", vmin=-RANGE_DB, vmax=0,
                extent=(0, length_s, 0, SHOWN_HZ / 1000),
            )  # fmt: skip
            axis.set_xlim(0, end_s)
            axis.set_title(title, fontsize=8)
            axis.set_ylabel("kHz", fontsize=7)
            log_f0, voicing = track_pitch(samples)
            pitch_hz = np.where(voicing >= 0.5, np.exp(log_f0), np.nan)
            pitch = axis.twinx()
            pitch.plot(np.arange(pitch_hz.size) * HOP_SAMPLES / SAMPLE_RATE_HZ, pitch_hz, color="red", linewidth=1.4)
            pitch.set_yscale("log")
            pitch.set_ylim(*PITCH_HZ)
            pitch.set_yticks([75, 150, 300], labels=["75", "150", "300 Hz"], fontsize=6, color="red")
            pitch.minorticks_off()
            axis.tick_params(labelsize=6)
        axes[0].set_xlabel(pair.sentence, fontsize=8, loc="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pyplot.close(figure)
    return Image.open(buffer).convert("RGB").quantize(COLOURS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw five recordings and their clones")
    parser.add_argument("--speech-dir", type=Path, required=True, help="recorded speech with manifest.tsv")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        pairs = make_pairs(arguments.speech_dir)
    except (FileNotFoundError, ValueError) as error:
        print(f"--speech-dir: {error}", file=sys.stderr)
        return 2
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    draw(pairs).save(arguments.out, optimize=True)
    print(f"{arguments.out} ({arguments.out.stat().st_size // 1024} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
