"""VocoderService: messages to an engine and back, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from likeness.v1 import vocoder_pb2, vocoder_pb2_grpc
from services.common.audio import FRAME_CHANNELS, HOP_SAMPLES, SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.common.grants import granted_mark
from services.common.keys import MARK, load_secret
from services.common.marking.audio_marker import AudioMarker
from services.common.metrics import StageMetrics
from services.common.wire import chunked, frames_from_wire, samples_to_s16
from services.vocoder.engines import Engine, choose, load_engines
from services.vocoder.settings import VocoderSettings
from services.vocoder.wavenet_engine import TEMPERATURE_RANGE

FIRST_BLOCK_FRAMES: Final = 6  # rendered before the first answer: every engine has something to say by then
BLOCK_FRAMES: Final = 16  # rendered between two answers after it; the deadline is checked as often


class VocoderServicer(vocoder_pb2_grpc.VocoderServiceServicer):
    """Implements `likeness.v1.VocoderService`. Every call has a stream of its own; engines hold only weights.

    What is made for a grant leaves with its mark.
    """

    def __init__(self, settings: VocoderSettings) -> None:
        self._settings = settings
        self._metrics = StageMetrics("vocoder")
        self._engines: Mapping[str, Engine] = {}
        self._mark_key: bytes | None = None

    def load(self) -> None:
        """Reads the weights and renders a moment of silence with every engine, which compiles it.

        Raises:
            LikenessError: MODEL_INVALID, also when the default engine has no weights here, or the device is missing.
            KeysError: grants are required, and there is no key to mark with.
        """
        if self._settings.grants == "required":
            self._mark_key = load_secret(self._settings.resolved_keys_dir / MARK)
        settings = self._settings
        engines = load_engines(
            settings.models_dir,
            together=settings.max_batch_size,
            threads=settings.threads,
            device=settings.vocoder_device,
        )
        if self._settings.vocoder_engine not in engines:
            detail = f"The engine {self._settings.vocoder_engine!r} is the default, but its weights are not installed."
            raise LikenessError("MODEL_INVALID", detail)
        silence = np.zeros((4, FRAME_CHANNELS), np.float32)
        silence[:, :-2], silence[:, -2:] = -11.5, (5.0, 0.9)
        for engine in engines.values():
            engine.synthesize(silence)
        self._engines = engines

    def SynthesizeWaveform(
        self, request_iterator: Iterator[vocoder_pb2.SynthesizeWaveformRequest], context: Any
    ) -> Iterator[vocoder_pb2.SynthesizeWaveformResponse]:
        options = vocoder_pb2.WaveformOptions()
        mark = self._marker()
        stream, engine_name = None, ""
        worked_s, sample_count, frame_count = 0.0, 0, 0
        for index, request in enumerate(request_iterator):
            if request.WhichOneof("part") == "options":
                if index > 0:
                    raise LikenessError("INVALID_FIELD", "The options must come first, and once.", field="options")
                options = request.options
                continue
            if stream is None:
                engine = choose(self._engines, options.engine or self._settings.vocoder_engine)
                engine_name = engine.name
                stream = engine.stream(seed=options.seed, temperature=_temperature(options))
            for block in _blocks(_frames(request), first=frame_count == 0):
                started_s = time.perf_counter()
                samples = stream.push(block)
                worked_s += time.perf_counter() - started_s
                frame_count += len(block)
                sample_count += samples.size
                yield from _responses(mark.write(samples), engine_name)
        if stream is None or frame_count == 0:
            raise LikenessError("INVALID_FIELD", "The stream held no acoustic frames.", field="frames")
        started_s = time.perf_counter()
        samples = stream.finish()
        worked_s += time.perf_counter() - started_s
        if sample_count + samples.size != frame_count * HOP_SAMPLES:
            raise LikenessError("INTERNAL", f"{frame_count} frames became {sample_count + samples.size} samples.")
        self._metrics.real_time_factor.observe(worked_s * SAMPLE_RATE_HZ / (frame_count * HOP_SAMPLES))
        yield from _responses(np.concatenate([mark.write(samples), mark.finish()]), engine_name)

    def _marker(self) -> AudioMarker | Unmarked:
        """What the samples of this call pass through before anybody hears them."""
        number = granted_mark()
        if number == 0:  # what the gateway alone listens to, when it calibrates a voice
            return Unmarked()
        if self._mark_key is None:
            raise LikenessError("MARK_FAILED", "The vocoder has no key to mark with.")
        return AudioMarker(self._mark_key, number)


class Unmarked:
    """In place of a marker: samples as they are."""

    def write(self, samples: FloatArray) -> FloatArray:
        return samples

    def finish(self) -> FloatArray:
        return np.zeros(0, np.float32)


def _temperature(options: vocoder_pb2.WaveformOptions) -> float:
    low, high = TEMPERATURE_RANGE
    if options.temperature and not low <= options.temperature <= high:
        detail = f"The temperature must lie between {low} and {high}, or be 0 for the default."
        raise LikenessError("INVALID_FIELD", detail, field="options.temperature")
    return options.temperature


def _frames(request: vocoder_pb2.SynthesizeWaveformRequest) -> FloatArray:
    if request.WhichOneof("part") is None:
        raise LikenessError("INVALID_FIELD", "A message holds neither options nor frames.", field="part")
    return frames_from_wire(request.frames)


def _blocks(frames: FloatArray, *, first: bool) -> Iterator[FloatArray]:
    """The frames in pieces small enough to answer in between."""
    edge = FIRST_BLOCK_FRAMES if first else 0
    if edge and len(frames):
        yield frames[:edge]
    for start in range(edge, len(frames), BLOCK_FRAMES):
        yield frames[start : start + BLOCK_FRAMES]


def _responses(samples: FloatArray, engine: str) -> Iterator[vocoder_pb2.SynthesizeWaveformResponse]:
    for data in chunked(samples_to_s16(samples)):
        yield vocoder_pb2.SynthesizeWaveformResponse(samples_s16=data, sample_rate_hz=SAMPLE_RATE_HZ, engine=engine)
