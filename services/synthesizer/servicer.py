"""SynthesizerService: messages to the engine and back, nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc

from likeness.v1 import synthesizer_pb2, synthesizer_pb2_grpc
from services.common.audio import FRAMES_PER_SECOND
from services.common.errors import LikenessError
from services.common.grants import require_language, require_template, voice_template
from services.common.metrics import StageMetrics
from services.common.models import Registry
from services.common.settings import StageSettings
from services.common.wire import frames_to_wire, profile_from_wire
from services.synthesizer.engine import FrameChunk, SpeechOptions, Synthesizer
from services.synthesizer.network import Network

WARM_UP_TEXT = "Hello, this is a sentence to warm up with."


class SynthesizerServicer(synthesizer_pb2_grpc.SynthesizerServiceServicer):
    """Streams acoustic frames, sentence after sentence."""

    def __init__(self, settings: StageSettings) -> None:
        self._settings = settings
        self._synthesizer: Synthesizer | None = None
        self._metrics = StageMetrics("synthesizer")

    def load(self) -> None:
        """Reads the graphs and the dictionary, and speaks once.

        Raises:
            LikenessError: MODEL_INVALID.
        """
        network = Network(Registry(self._settings.models_dir), self._settings.threads)
        synthesizer = Synthesizer(network)
        for speaker in network.styles.values():
            for _ in synthesizer.synthesize(WARM_UP_TEXT, speaker):
                pass
        self._synthesizer = synthesizer

    def SynthesizeMel(  # noqa: N802 -- the name is gRPC's
        self, request: synthesizer_pb2.SynthesizeMelRequest, context: grpc.ServicerContext
    ) -> Iterator[synthesizer_pb2.SynthesizeMelResponse]:
        if self._synthesizer is None:
            raise LikenessError("MODEL_LOADING", "The synthesizer is still loading its model.", retry_after_s=1.0)
        speaker = profile_from_wire(request.speaker, field="speaker")
        language = request.language or "en"
        require_template(voice_template(speaker.embedding), field="speaker.embedding")
        require_language(language, field="language")
        options = SpeechOptions(
            speed=request.speed or 1.0,
            pitch_shift_semitones=request.pitch_shift_semitones,
            seed=request.seed,
            temperature=request.temperature if request.HasField("temperature") else 1.0,
        )
        worked_s = 0.0
        frame_count = 0
        started_s = time.perf_counter()
        chunks = self._synthesizer.synthesize(request.text, speaker, options, language, dictionary=request.dictionary)
        for chunk in chunks:
            worked_s += time.perf_counter() - started_s
            frame_count += len(chunk.frames)
            if not context.is_active():
                return
            yield _response(chunk)
            started_s = time.perf_counter()
        self._metrics.real_time_factor.observe(worked_s / (frame_count / FRAMES_PER_SECOND))


def _response(chunk: FrameChunk) -> synthesizer_pb2.SynthesizeMelResponse:
    return synthesizer_pb2.SynthesizeMelResponse(
        frames=frames_to_wire(chunk.frames),
        sentence_index=chunk.sentence_index,
        sentence_count=chunk.sentence_count,
        sentence_end=chunk.sentence_end,
        words=[
            synthesizer_pb2.WordTiming(
                word=word.word, start_seconds=word.start_s, end_seconds=word.end_s, punctuated_word=word.punctuated
            )
            for word in chunk.words
        ],
    )
