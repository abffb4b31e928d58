"""Makes the demo's voice: flite's speech, moved to another pitch and vocal tract length by WORLD.

No person speaks here. flite's `rms` says the text, WORLD (Morise et al. 2016) takes it apart into pitch, spectral
envelope and aperiodicity, and each is moved: a higher pitch with a wider melody, formants of a shorter vocal tract,
slightly more breath. The speaker encoder finds the result no closer to `rms` (cosine 0.73) than to `slt`, so that
cloning it is a real task.

    python examples/persona/make.py [--out examples/persona/persona.flac]

Needs the `flite` program (2.2) and the `test` extra (pyworld); both only to make the file again.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Final

import numpy as np
import pyworld
from numpy.typing import NDArray

from services.common.encode_audio import encode_audio

SAMPLE_RATE_HZ: Final = 16_000
TEXT: Final = (
    "Hello, I am Juniper. No throat ever made this voice: a program shaped it, for anyone to borrow. "
    "The quick boy was there when the sun rose, and enjoyed the air."
)

PITCH_SCALE: Final = 1.75  # about ten semitones above rms
MELODY_SCALE: Final = 1.2  # excursions of log-F0 around its mean
FORMANT_SCALE: Final = 1.15  # a vocal tract an eighth shorter
BREATH: Final = 0.05  # share of noise added to every band of voiced frames
PEAK: Final = 0.7


def speak(text: str, voice: str = "rms") -> NDArray[np.float64]:
    """flite's speech, mono in [-1, 1] at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)  # noqa: S603, S607
        with wave.open(io.BytesIO(path.read_bytes())) as file:
            if file.getframerate() != SAMPLE_RATE_HZ or file.getnchannels() != 1:
                raise SystemExit(
                    f"flite wrote {file.getframerate()} Hz, {file.getnchannels()} channels; expected 16 kHz mono"
                )
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float64) / 32768.0


def move(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Another speaker saying the same, in the same time."""
    f0, times = pyworld.harvest(samples, SAMPLE_RATE_HZ, f0_floor=60.0, f0_ceil=400.0)
    envelope = pyworld.cheaptrick(samples, f0, times, SAMPLE_RATE_HZ)  # (frames, bins), power
    aperiodicity = pyworld.d4c(samples, f0, times, SAMPLE_RATE_HZ)  # (frames, bins), 0 to 1

    voiced = f0 > 0
    mean = np.log(f0[voiced]).mean()
    moved_f0 = f0.copy()
    moved_f0[voiced] = np.exp(mean + np.log(PITCH_SCALE) + MELODY_SCALE * (np.log(f0[voiced]) - mean))

    bins = np.arange(envelope.shape[1], dtype=np.float64)
    log_envelope = np.log(envelope)
    moved_envelope = np.exp([np.interp(bins / FORMANT_SCALE, bins, frame) for frame in log_envelope])
    breathy = np.clip(aperiodicity + BREATH * (1.0 - aperiodicity), 0.0, 1.0)

    moved = pyworld.synthesize(moved_f0, np.ascontiguousarray(moved_envelope), breathy, SAMPLE_RATE_HZ)
    return np.asarray(moved * (PEAK / np.abs(moved).max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("persona.flac"))
    arguments = parser.parse_args()
    samples = move(speak(TEXT)).astype(np.float32)
    data = encode_audio(samples, "flac")
    arguments.out.write_bytes(data)
    print(f"{arguments.out}: {len(samples) / SAMPLE_RATE_HZ:.1f} s, {len(data) // 1024} KiB")


if __name__ == "__main__":
    main()
