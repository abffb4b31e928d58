"""Text to samples: the synthesizer's frames are pumped into the vocoder while they arrive.

The only place where the two meet. Samples are read by a thread of their own into memory, so that a slow listener
neither occupies a stage nor spoils the timing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

import grpc

from likeness.v1 import synthesizer_pb2, vocoder_pb2
from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.common.wire import profile_to_wire, samples_from_s16
from services.gateway.stages import Call, StageName, Stages

DEFAULT_LANGUAGE: Final = "en"


@dataclass(frozen=True)
class Utterance:
    """What is spoken and how. An empty engine is the vocoder's default."""

    text: str
    speed: float = 1.0
    pitch_shift_semitones: float = 0.0
    seed: int = 0
    engine: str = ""
    language: str = DEFAULT_LANGUAGE


@dataclass(frozen=True, eq=False)
class SampleChunk:
    """Samples (n,) at 16 kHz and when they arrived, on the monotonic clock."""

    samples: FloatArray
    arrived_at: float


@dataclass(frozen=True)
class _End:
    failed_stage: StageName | None = None
    error: grpc.RpcError | LikenessError | None = None


class SampleStream:
    """The samples of one utterance. Starts at once; iterate it once, or cancel it.

    Iterating raises LikenessError when a stage fails, after the samples that came before.

    Attributes:
        engine: the vocoder engine; known with the first chunk.
        frame_count: acoustic frames seen so far.
    """

    def __init__(self, stages: Stages, profile: SpeakerProfile, utterance: Utterance, call: Call) -> None:
        self.engine = ""
        self.frame_count = 0
        self._stages = stages
        self._queue: SimpleQueue[SampleChunk | _End] = SimpleQueue()
        self._synthesis_error: grpc.RpcError | None = None
        self._synthesis = stages.synthesize(_mel_request(profile, utterance), call)
        self._waveform = stages.vocode(self._vocoder_requests(utterance), call)
        threading.Thread(target=self._read, name="samples", daemon=True).start()

    def __iter__(self) -> Iterator[SampleChunk]:
        while True:
            item = self._queue.get()
            if isinstance(item, SampleChunk):
                yield item
                continue
            if isinstance(item.error, LikenessError):
                raise item.error
            if item.error is not None and item.failed_stage is not None:
                self._stages.raise_from(item.failed_stage, item.error)
            return

    def cancel(self) -> None:
        """Stops both stages. Does nothing when they have finished."""
        self._synthesis.cancel()
        self._waveform.cancel()

    def _vocoder_requests(self, utterance: Utterance) -> Iterator[vocoder_pb2.SynthesizeWaveformRequest]:
        options = vocoder_pb2.WaveformOptions(engine=utterance.engine, seed=utterance.seed)
        yield vocoder_pb2.SynthesizeWaveformRequest(options=options)
        try:
            for response in self._synthesis:
                if response.frames.frame_count:
                    self.frame_count += response.frames.frame_count
                    yield vocoder_pb2.SynthesizeWaveformRequest(frames=response.frames)
        except grpc.RpcError as error:
            # Ends the vocoder's input; `_read` tells of this error once the vocoder is through.
            self._synthesis_error = error

    def _read(self) -> None:
        end = _End()
        try:
            for response in self._waveform:
                self.engine = response.engine or self.engine
                samples = samples_from_s16(response.samples_s16, field="vocoder.samples_s16")
                if samples.size:
                    self._queue.put(SampleChunk(samples, time.monotonic()))
        except grpc.RpcError as error:
            end = _End("vocoder", error)
        except LikenessError as error:
            end = _End("vocoder", error)
        if self._synthesis_error is not None:
            end = _End("synthesizer", self._synthesis_error)
        self._queue.put(end)
        self.cancel()


def _mel_request(profile: SpeakerProfile, utterance: Utterance) -> synthesizer_pb2.SynthesizeMelRequest:
    return synthesizer_pb2.SynthesizeMelRequest(
        text=utterance.text,
        speaker=profile_to_wire(profile),
        speed=utterance.speed,
        pitch_shift_semitones=utterance.pitch_shift_semitones,
        seed=utterance.seed,
        language=utterance.language,
    )
