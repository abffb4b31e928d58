"""Text to samples: the synthesizer's frames are pumped into the vocoder while they arrive.

The only place where the two meet. What either makes is read into memory by a thread of its own: a slow listener must
not occupy a stage, nor spoil the timing, and a synthesizer that waited for a vocoder which is busy with others, whose
frames wait for that synthesizer, would wait for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Final

import grpc

from likeness.v1 import synthesizer_pb2, types_pb2, vocoder_pb2
from services.common.audio import FloatArray
from services.common.errors import LikenessError
from services.common.profile import SpeakerProfile
from services.common.wire import profile_to_wire, samples_from_s16
from services.gateway.stages import Call, StageName, Stages

DEFAULT_LANGUAGE: Final = "en"


@dataclass(frozen=True)
class Utterance:
    """What is spoken and how. An empty engine is the vocoder's default.

    Attributes:
        text: plain, or SSML.
        temperature: how much speech varies with the seed; 1 is usual.
        dictionary: word -> pronunciation.
    """

    text: str
    speed: float = 1.0
    pitch_shift_semitones: float = 0.0
    seed: int = 0
    engine: str = ""
    language: str = DEFAULT_LANGUAGE
    temperature: float = 1.0
    dictionary: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Word:
    """A word and when it is spoken, in seconds from the start of the sound.

    Attributes:
        punctuated_word: with the signs that touch it.
    """

    word: str
    punctuated_word: str
    start: float
    end: float


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

    Args:
        keep_frames: collects the acoustic frames in `frames`, for short texts.

    Attributes:
        engine: the vocoder engine; known with the first chunk.
        frame_count: acoustic frames seen so far.
        frames: those frames, where they are kept.
        words: those of the sentences that were begun so far.
    """

    def __init__(
        self, stages: Stages, profile: SpeakerProfile, utterance: Utterance, call: Call, *, keep_frames: bool = False
    ) -> None:
        self.engine = ""
        self.frame_count = 0
        self.frames: list[types_pb2.AcousticFrames] = []
        self._keep_frames = keep_frames
        self.words: list[Word] = []
        self._stages = stages
        self._utterance = utterance
        self._call = call
        self._frames: SimpleQueue[types_pb2.AcousticFrames | None] = SimpleQueue()
        self._samples: SimpleQueue[SampleChunk | _End] = SimpleQueue()
        self._synthesis_end: _End | None = None
        self._waveform: Any = None
        self._synthesis = stages.synthesize(_mel_request(profile, utterance), call)
        threading.Thread(target=self._read_frames, name="frames", daemon=True).start()

    def __iter__(self) -> Iterator[SampleChunk]:
        while True:
            item = self._samples.get()
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
        if self._waveform is not None:
            self._waveform.cancel()

    def _read_frames(self) -> None:
        """Collects frames; the vocoder is called when there are some, so that it is not kept waiting for the first."""
        end = _End()
        try:
            for response in self._synthesis:
                self.words += map(_word, response.words)
                if response.frames.frame_count:
                    self.frame_count += response.frames.frame_count
                    if self._keep_frames:
                        self.frames.append(response.frames)
                    self._frames.put(response.frames)
                    if self._waveform is None:
                        self._waveform = self._stages.vocode(self._vocoder_requests(), self._call)
                        threading.Thread(target=self._read_samples, name="samples", daemon=True).start()
        except (grpc.RpcError, LikenessError) as error:
            end = _End("synthesizer", error)
        self._synthesis_end = end
        self._frames.put(None)
        if self._waveform is None:
            self._samples.put(end)

    def _vocoder_requests(self) -> Iterator[vocoder_pb2.SynthesizeWaveformRequest]:
        options = vocoder_pb2.WaveformOptions(engine=self._utterance.engine, seed=self._utterance.seed)
        yield vocoder_pb2.SynthesizeWaveformRequest(options=options)
        while (frames := self._frames.get()) is not None:
            yield vocoder_pb2.SynthesizeWaveformRequest(frames=frames)

    def _read_samples(self) -> None:
        end = _End()
        try:
            for response in self._waveform:
                self.engine = response.engine or self.engine
                samples = samples_from_s16(response.samples_s16, field="vocoder.samples_s16")
                if samples.size:
                    self._samples.put(SampleChunk(samples, time.monotonic()))
        except (grpc.RpcError, LikenessError) as error:
            end = _End("vocoder", error)
        if end.error is None and self._synthesis_end is not None:
            end = self._synthesis_end  # frames that ended early look like the end of the text to the vocoder
        self._samples.put(end)
        self.cancel()


def _mel_request(profile: SpeakerProfile, utterance: Utterance) -> synthesizer_pb2.SynthesizeMelRequest:
    return synthesizer_pb2.SynthesizeMelRequest(
        text=utterance.text,
        speaker=profile_to_wire(profile),
        speed=utterance.speed,
        pitch_shift_semitones=utterance.pitch_shift_semitones,
        seed=utterance.seed,
        language=utterance.language,
        temperature=utterance.temperature,
        dictionary=utterance.dictionary,
    )


def _word(timing: synthesizer_pb2.WordTiming) -> Word:
    return Word(
        timing.word,
        timing.punctuated_word or timing.word,
        round(timing.start_seconds, 4),
        round(timing.end_seconds, 4),
    )
