"""Speech to be marked, and what happens to speech on its way: codecs, resampling, noise, cutting, changes of speed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from scipy.signal import resample_poly

from benchmarks.flite_reference import FOLDER, read_audio
from services.common.audio import SAMPLE_RATE_HZ, FloatArray, acoustic_frames
from services.vocoder.draft import DraftEngine
from services.vocoder.engines import Engine

LEAST_S: Final = 3.0
MOST_S: Final = 12.0
BLOCK: Final = 160  # 10 ms
LEAST_SPOKEN: Final = 1 / 3  # share of a cut that is within 30 dB of the loudest
SPEEDS: Final = (0.95, 1.05)
_SUFFIXES: Final = {".opus", ".wav", ".flac", ".ogg", ".mp3"}
Random = np.random.Generator
Sound = tuple[FloatArray, int]  # samples, rate in Hz


def own_speech(shuffled: Random) -> Iterator[FloatArray]:
    """What the draft vocoder makes of the recordings kept in the repository, in random order; LEAST_S at least."""
    engine = Engine(DraftEngine())
    for path in shuffled.permutation(sorted(map(str, FOLDER.glob("*.opus")))):
        recording = read_audio(Path(path))
        if recording.size >= LEAST_S * SAMPLE_RATE_HZ:
            yield engine.synthesize(acoustic_frames(recording))


def recorded_speech(folder: Path, shuffled: Random) -> Iterator[FloatArray]:
    """Recordings under a folder in random order, of LEAST_S at least, cut to MOST_S."""
    paths = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    for path in shuffled.permutation(paths):
        samples = read_audio(Path(path))[: int(MOST_S * SAMPLE_RATE_HZ)]
        if samples.size >= LEAST_S * SAMPLE_RATE_HZ:
            yield samples


def coded(samples: FloatArray, container: str, codec: str, bit_rate: int, sample_format: str) -> FloatArray:
    """Through a lossy codec at 16 kHz and back."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=SAMPLE_RATE_HZ, layout="mono", format=sample_format)
        stream.bit_rate = bit_rate
        stream.codec_context.thread_count = 1
        stream.codec_context.open()
        resampler = av.AudioResampler(
            format=sample_format, layout="mono", rate=SAMPLE_RATE_HZ, frame_size=stream.codec_context.frame_size or None
        )
        for frame in [*resampler.resample(_frame(np.clip(samples, -1, 1))), *resampler.resample(None)]:
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return _decoded(file)


def _frame(samples: FloatArray) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    return frame


def _decoded(file: io.BytesIO) -> FloatArray:
    file.seek(0)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(file, "r") as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]]).astype(np.float32)


def stretched(samples: FloatArray, tempo: float) -> FloatArray:
    """Played that much faster at the same pitch (FFmpeg's atempo: overlapping pieces)."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=SAMPLE_RATE_HZ, layout="mono", time_base=Fraction(1, 16_000))
    filters = [graph.add("atempo", f"{tempo:.4f}"), graph.add("abuffersink")]
    source.link_to(filters[0])
    filters[0].link_to(filters[1])
    graph.configure()
    pieces = []
    source.push(_frame(samples))
    source.push(None)
    while True:
        try:
            frame: Any = filters[1].pull()
            pieces.append(np.asarray(frame.to_ndarray()[0], np.float32))
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(pieces)


def resampled(samples: FloatArray, up: int, down: int) -> FloatArray:
    return np.asarray(resample_poly(samples, up, down), np.float32)


def _noisy(samples: FloatArray, random: Random) -> FloatArray:
    level = np.sqrt(np.mean(np.square(samples))) / 10.0
    return np.asarray(samples + level * random.standard_normal(samples.size), np.float32)


def _cut(samples: FloatArray, random: Random) -> FloatArray:
    """LEAST_S from anywhere, but of speech: a third of it at least is not a pause, or as much as there is."""
    size = int(LEAST_S * SAMPLE_RATE_HZ)
    blocks = np.square(samples[: samples.size // BLOCK * BLOCK].reshape(-1, BLOCK)).mean(axis=1)
    spoken = np.convolve(blocks > 1e-3 * blocks.max(), np.ones(size // BLOCK) * BLOCK / size, "valid")
    starts = np.flatnonzero(spoken >= min(LEAST_SPOKEN, spoken.max()))
    start = int(random.choice(starts)) * BLOCK
    return samples[start : start + size]


def _faster(samples: FloatArray, random: Random) -> FloatArray:
    return resampled(samples, 1000, round(1000 * random.uniform(*SPEEDS)))


ATTACKS: Final[dict[str, Callable[[FloatArray, Random], Sound]]] = {
    "clean": lambda samples, random: (samples, SAMPLE_RATE_HZ),
    "mp3_64k": lambda samples, random: (coded(samples, "mp3", "libmp3lame", 64_000, "s16p"), SAMPLE_RATE_HZ),
    "aac_48k": lambda samples, random: (coded(samples, "adts", "aac", 48_000, "fltp"), SAMPLE_RATE_HZ),
    "opus_24k": lambda samples, random: (coded(samples, "ogg", "libopus", 24_000, "s16"), SAMPLE_RATE_HZ),
    "resampled_8k": lambda samples, random: (resampled(samples, 1, 2), 8_000),
    "resampled_8k_16k": lambda samples, random: (resampled(resampled(samples, 1, 2), 2, 1), SAMPLE_RATE_HZ),
    "resampled_44k": lambda samples, random: (resampled(samples, 441, 160), 44_100),
    "resampled_48k": lambda samples, random: (resampled(samples, 3, 1), 48_000),
    "noise_20db": lambda samples, random: (_noisy(samples, random), SAMPLE_RATE_HZ),
    "crop_3s": lambda samples, random: (_cut(samples, random), SAMPLE_RATE_HZ),
    "speed": lambda samples, random: (_faster(samples, random), SAMPLE_RATE_HZ),
    "tempo": lambda samples, random: (stretched(samples, random.uniform(*SPEEDS)), SAMPLE_RATE_HZ),
}
