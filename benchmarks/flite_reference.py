"""What flite's `rms` voice says for the evaluation sentences: the peer that word errors are compared with.

The recordings are kept in benchmarks/flite_rms/ (Opus), so that the comparison needs no flite;
`python -m benchmarks.flite_reference` makes them again with the flite program.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from benchmarks.sentences import SENTENCES
from services.common.audio import SAMPLE_RATE_HZ, FloatArray

FOLDER = Path(__file__).parent / "flite_rms"


def path_of(index: int) -> Path:
    return FOLDER / f"{index:02d}.opus"


def read_audio(path: Path) -> FloatArray:
    """Any recording as 16 kHz mono float32, shape (n,)."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(str(path)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def write_opus(path: Path, samples: FloatArray, bit_rate: int = 32_000) -> None:
    """Writes 16 kHz mono float32 samples as Ogg Opus."""
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = bit_rate
        s16 = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(s16[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sentence.wav"
        for index, sentence in enumerate(SENTENCES):
            try:
                subprocess.run(["flite", "-voice", "rms", "-t", sentence, "-o", str(wav)], check=True)
            except FileNotFoundError:
                print("flite is not installed; on Debian: apt-get install flite", file=sys.stderr)
                return 2
            write_opus(path_of(index), read_audio(wav))
    return 0


if __name__ == "__main__":
    sys.exit(main())
