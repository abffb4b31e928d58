"""gRPC to the encoder and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from likeness.v1 import encoder_pb2, encoder_pb2_grpc, types_pb2
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.batching import DynamicBatcher
from services.common.deadlines import current_deadline
from services.common.decode_audio import decode_audio
from services.common.errors import LikenessError
from services.common.grants import require_template, voice_template
from services.common.metrics import StageMetrics
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.store import open_store, read_reference
from services.common.wire import embedding_from_wire, gradient_to_wire, profile_to_wire, samples_from_s16
from services.encoder.encoder import MAX_RECORDING_S, EncodedSpeech, encode_speech
from services.encoder.features import MEL_BANDS, WINDOW_FRAMES
from services.encoder.gradient import GradientNetwork
from services.encoder.model import MODEL_NAME, SpeakerNetwork
from services.encoder.settings import EncoderSettings

MAX_MEDIA_BYTES: Final = 50 * 1024 * 1024
MAX_GUIDED_S: Final = 30.0  # of speech whose derivative is asked for
MAX_QUEUED_WINDOWS: Final = 8192  # requests are bounded before; ten of the longest recordings fit


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Implements `likeness.v1.EncoderService`. Windows of concurrent requests share runs of the network."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._metrics = StageMetrics("encoder")
        self._store = open_store(settings)
        self._batcher: DynamicBatcher[FloatArray, FloatArray] | None = None
        self._gradient: GradientNetwork | None = None

    def load(self) -> None:
        path = Registry(self._settings.models_dir).path(MODEL_NAME)
        network = SpeakerNetwork(path, threads=self._settings.threads)
        self._gradient = GradientNetwork(path)
        network.embed(np.zeros((1, WINDOW_FRAMES, MEL_BANDS), np.float32))
        warm = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32) * 0.01
        try:  # compiles the pitch tracker; noise is no speech
            encode_speech(warm, network.embed)
        except LikenessError as error:
            if error.reason != "SPEECH_TOO_SHORT":
                raise
        self._batcher = DynamicBatcher(
            lambda windows: list(network.embed(np.stack(windows))),
            max_batch_size=self._settings.max_batch_size,
            max_queue_delay_microseconds=self._settings.max_queue_delay_microseconds,
            max_queue_size=MAX_QUEUED_WINDOWS,
            name="encoder",
        )

    def close(self) -> None:
        if self._batcher is not None:
            self._batcher.close()

    def EmbedSpeech(
        self, request_iterator: Iterator[encoder_pb2.EmbedSpeechRequest], context: Any
    ) -> encoder_pb2.EmbedSpeechResponse:
        options, samples = self._receive(request_iterator)
        encoded = encode_speech(
            samples,
            self._embed_windows,
            embedding_only=options.embedding_only,
            surely_speech=options.surely_speech,
            label=options.label,
        )
        self._metrics.real_time_factor.observe(encoded.work_s * SAMPLE_RATE_HZ / samples.size)
        return _response(encoded)

    def GuideSpeech(self, request: encoder_pb2.GuideSpeechRequest, context: Any) -> encoder_pb2.GuideSpeechResponse:
        if self._gradient is None:
            raise RuntimeError("load() has not been called")
        target = embedding_from_wire(request.target, field="target")
        require_template(voice_template(target), field="target")
        samples = samples_from_s16(request.samples_s16)
        if samples.size > MAX_GUIDED_S * SAMPLE_RATE_HZ:
            detail = f"There are {samples.size / SAMPLE_RATE_HZ:.1f} s of speech; at most {MAX_GUIDED_S:.0f} s."
            raise LikenessError("MEDIA_TOO_LARGE", detail, field="samples_s16")
        started_s = time.perf_counter()
        guidance = self._gradient.guide(samples, target)
        self._metrics.real_time_factor.observe((time.perf_counter() - started_s) * SAMPLE_RATE_HZ / samples.size)
        return encoder_pb2.GuideSpeechResponse(
            similarity=guidance.similarity, gradient_f32=gradient_to_wire(guidance.gradient)
        )

    def _embed_windows(self, windows: FloatArray) -> FloatArray:
        if self._batcher is None:
            raise RuntimeError("load() has not been called")
        deadline = current_deadline()
        return np.stack(self._batcher.submit_many(list(windows), deadline.remaining_s() if deadline else None))

    def _receive(
        self, requests: Iterator[encoder_pb2.EmbedSpeechRequest]
    ) -> tuple[encoder_pb2.EmbedSpeechOptions, FloatArray]:
        """Options and samples of the whole stream."""
        options: encoder_pb2.EmbedSpeechOptions | None = None
        media: types_pb2.MediaReference | None = None
        data = bytearray()
        for index, request in enumerate(requests):
            part = request.WhichOneof("part")
            if part == "options":
                if index > 0:
                    raise LikenessError("INVALID_FIELD", "options must come first.", field="options")
                options = request.options
            elif part == "samples_s16":
                data += request.samples_s16
                if len(data) > 2 * SAMPLE_RATE_HZ * MAX_RECORDING_S:
                    detail = f"The recording is longer than {MAX_RECORDING_S:.0f} s."
                    raise LikenessError("MEDIA_TOO_LARGE", detail, field="samples_s16")
            elif part == "media":
                media = request.media
            else:
                detail = "A message holds neither options nor samples nor a media reference."
                raise LikenessError("INVALID_FIELD", detail, field="part")
        if media is not None and data:
            raise LikenessError("INVALID_FIELD", "Send either samples or a media reference.", field="media")
        if media is not None:
            samples = decode_audio(read_reference(self._store, media, MAX_MEDIA_BYTES), field="media").samples
        else:
            samples = samples_from_s16(bytes(data))
        return options or encoder_pb2.EmbedSpeechOptions(), samples


def _response(encoded: EncodedSpeech) -> encoder_pb2.EmbedSpeechResponse:
    if encoded.statistics is None or encoded.quality is None:
        return encoder_pb2.EmbedSpeechResponse(profile={"embedding": encoded.embedding.tolist()})
    statistics, quality = encoded.statistics, encoded.quality
    profile = SpeakerProfile(
        embedding=encoded.embedding,
        log_f0_median=statistics.log_f0_median,
        log_f0_spread=statistics.log_f0_spread,
        mel_mean=statistics.mel_mean,
        mel_spread=statistics.mel_spread,
        sounds=encoded.sounds,
    )
    message = profile_to_wire(profile)
    message.formant_warp = 0.0  # the synthesizer's calibration finds it
    return encoder_pb2.EmbedSpeechResponse(
        profile=message,
        quality=encoder_pb2.ReferenceQuality(
            total_seconds=quality.total_s,
            speech_seconds=quality.speech_s,
            snr_db=quality.snr_db,
            clipped_share=quality.clipped_share,
            multiple_speakers=quality.multiple_speakers,
            speaker_consistency=quality.speaker_consistency,
            advice=quality.advice,
        ),
    )
