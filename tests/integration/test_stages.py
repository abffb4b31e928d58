"""Each stage by itself, over plain gRPC: health, reflection, metrics, and its own work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from likeness._demo.pictures import ASTRONAUT, GROUP, GUEST
from likeness._stack import GRPC_SERVICES
from likeness.v1 import (
    encoder_pb2,
    faceswap_pb2,
    synthesizer_pb2,
    types_pb2,
    vocoder_pb2,
)
from services.common.audio import HOP_SAMPLES, FloatArray, acoustic_frames, log_mel
from services.common.decode import decode_audio
from services.common.rpc_status import from_rpc
from services.common.wire import chunked, frames_from_wire, frames_to_wire, samples_from_s16, samples_to_s16
from tests.integration.conftest import (
    PERSONA,
    EncoderServiceStub,
    FaceSwapServiceStub,
    RunningStack,
    SynthesizerServiceStub,
    VocoderServiceStub,
)

ChannelTo = Callable[[str], grpc.Channel]
METHODS = {
    "encoder": ["EmbedSpeech", "GuideSpeech"],
    "synthesizer": ["SynthesizeMel"],
    "vocoder": ["SynthesizeWaveform"],
    "faceswap": ["DetectFaces", "SwapPicture", "SwapSegment", "SwapLive"],
}


@pytest.fixture(scope="module")
def samples() -> FloatArray:
    return decode_audio(PERSONA.read_bytes()).samples


@pytest.mark.parametrize("stage", GRPC_SERVICES)
def test_health_is_told_for_the_process_and_for_the_model(channel_to: ChannelTo, stage: str) -> None:
    stub = health_pb2_grpc.HealthStub(channel_to(stage))
    for service in ("", GRPC_SERVICES[stage]):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(health_pb2.HealthCheckRequest(service="likeness.v1.NoService"), timeout=60)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("stage", GRPC_SERVICES)
def test_reflection_describes_the_service(channel_to: ChannelTo, stage: str) -> None:
    database = ProtoReflectionDescriptorDatabase(channel_to(stage))
    assert GRPC_SERVICES[stage] in database.get_services()
    service = DescriptorPool(database).FindServiceByName(GRPC_SERVICES[stage])
    assert [method.name for method in service.methods] == METHODS[stage]


@pytest.mark.parametrize("stage", GRPC_SERVICES)
def test_metrics_are_shown(running: RunningStack, stage: str) -> None:
    assert running.metric(stage, "likeness_model_load_seconds", stage=stage) > 0
    assert running.metric(stage, "likeness_queue_depth", stage=stage) == 0


def embed(channel: grpc.Channel, samples: FloatArray) -> encoder_pb2.EmbedSpeechResponse:
    pieces = (encoder_pb2.EmbedSpeechRequest(samples_s16=piece) for piece in chunked(samples_to_s16(samples)))
    answer: encoder_pb2.EmbedSpeechResponse = EncoderServiceStub(channel).EmbedSpeech(pieces, timeout=60)
    return answer


def test_the_encoder_knows_a_voice_again(channel_to: ChannelTo, samples: FloatArray) -> None:
    channel = channel_to("encoder")
    half = len(samples) // 2
    embeddings = [np.array(embed(channel, part).profile.embedding) for part in (samples[:half], samples[half:])]
    assert [embedding.shape for embedding in embeddings] == [(256,), (256,)]
    assert all(np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-3) for embedding in embeddings)
    assert embeddings[0] @ embeddings[1] > 0.75


def test_the_encoder_judges_the_recording(channel_to: ChannelTo, samples: FloatArray) -> None:
    quality = embed(channel_to("encoder"), samples).quality
    assert quality.total_seconds == pytest.approx(len(samples) / 16_000, abs=0.02)
    assert 5 < quality.speech_seconds < quality.total_seconds
    assert not quality.multiple_speakers and quality.clipped_share == 0
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    noisy = samples + 0.05 * noise
    assert embed(channel_to("encoder"), noisy).quality.snr_db < quality.snr_db


def test_the_encoder_answers_alike_alone_and_in_a_batch(channel_to: ChannelTo, samples: FloatArray) -> None:
    """Requests that come together are run as one batch; nobody may notice."""
    channel = channel_to("encoder")
    parts = [samples[start : start + 40_000] for start in range(0, 100_000, 20_000)]
    alone = [np.array(embed(channel, part).profile.embedding) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        together = [np.array(answer.profile.embedding) for answer in pool.map(lambda p: embed(channel, p), parts)]
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_the_encoder_refuses_too_little_speech(channel_to: ChannelTo, samples: FloatArray) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        embed(channel_to("encoder"), samples[:12_000])
    told = from_rpc(refused.value)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told.reason == "SPEECH_TOO_SHORT"


@pytest.fixture
def profile(channel_to: ChannelTo, samples: FloatArray) -> types_pb2.SpeakerProfile:
    return embed(channel_to("encoder"), samples).profile


def test_the_synthesizer_streams_sentence_after_sentence(
    channel_to: ChannelTo, profile: types_pb2.SpeakerProfile
) -> None:
    stub = SynthesizerServiceStub(channel_to("synthesizer"))
    request = synthesizer_pb2.SynthesizeMelRequest(text="Good morning. It is ten to nine.", speaker=profile, seed=1)
    answers = list(stub.SynthesizeMel(request, timeout=60))
    assert {answer.sentence_count for answer in answers} == {2}
    assert [answer.sentence_index for answer in answers] == sorted(answer.sentence_index for answer in answers)
    assert sum(answer.sentence_end for answer in answers) == 2
    frames = np.concatenate([frames_from_wire(a.frames) for a in answers if a.frames.frame_count])
    assert 80 < len(frames) < 80 * 8, "a few seconds at 80 frames a second"
    assert 0.2 < float(np.mean(frames[:, 81] >= 0.5)) < 0.95, "speech is voiced in part"
    starts = [word.start_seconds for answer in answers for word in answer.words]
    assert len(starts) >= 5 and starts == sorted(starts) and starts[-1] < len(frames) / 80


def vocode(channel: grpc.Channel, frames: FloatArray, piece_frames: int) -> FloatArray:
    def requests() -> Iterator[vocoder_pb2.SynthesizeWaveformRequest]:
        yield vocoder_pb2.SynthesizeWaveformRequest(options=vocoder_pb2.WaveformOptions(seed=1))
        for start in range(0, len(frames), piece_frames):
            wire = frames_to_wire(frames[start : start + piece_frames])
            yield vocoder_pb2.SynthesizeWaveformRequest(frames=wire)

    answers = VocoderServiceStub(channel).SynthesizeWaveform(requests(), timeout=60)
    return np.concatenate([samples_from_s16(answer.samples_s16) for answer in answers])


def test_the_vocoder_speaks_the_frames_of_a_recording(channel_to: ChannelTo, samples: FloatArray) -> None:
    """Analysis and resynthesis: the result's mel resembles the original's."""
    frames = acoustic_frames(samples[: 200 * HOP_SAMPLES])
    made = vocode(channel_to("vocoder"), frames, 25)
    assert len(made) == len(frames) * HOP_SAMPLES
    expected, found = frames[:, :80], log_mel(made)
    loud = expected.max(axis=1) > expected.max() - 4
    assert np.corrcoef(expected[loud].ravel(), found[loud].ravel())[0, 1] > 0.85


def test_the_vocoder_does_not_care_how_frames_are_cut(channel_to: ChannelTo, samples: FloatArray) -> None:
    frames = acoustic_frames(samples[: 120 * HOP_SAMPLES])
    channel = channel_to("vocoder")
    whole = vocode(channel, frames, len(frames))
    assert np.array_equal(vocode(channel, frames, 7), whole)


def test_the_vocoder_refuses_frames_that_are_none(channel_to: ChannelTo) -> None:
    bad = types_pb2.AcousticFrames(frame_count=2, channel_count=82, values=b"123")
    requests = iter([vocoder_pb2.SynthesizeWaveformRequest(frames=bad)])
    stub = VocoderServiceStub(channel_to("vocoder"))
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.SynthesizeWaveform(requests, timeout=10))
    assert from_rpc(refused.value).reason == "INVALID_FIELD"


def test_faceswap_finds_and_swaps(channel_to: ChannelTo) -> None:
    stub = FaceSwapServiceStub(channel_to("faceswap"))
    group = faceswap_pb2.Picture(encoded=GROUP.path.read_bytes())
    found = stub.DetectFaces(faceswap_pb2.DetectFacesRequest(picture=group, with_descriptors=True), timeout=30)
    assert (found.width_px, found.height_px) == (1280, 886) and len(found.faces) >= 5
    areas = [face.box.width * face.box.height for face in found.faces]
    assert areas == sorted(areas, reverse=True)
    assert {len(face.descriptor) for face in found.faces} == {128}
    swap = stub.SwapPicture(
        faceswap_pb2.SwapPictureRequest(
            source=faceswap_pb2.Picture(encoded=GUEST.content()),
            target=faceswap_pb2.Picture(encoded=ASTRONAUT.path.read_bytes()),
            options=faceswap_pb2.SwapOptions(format=faceswap_pb2.PICTURE_FORMAT_JPEG),
        ),
        timeout=30,
    )
    assert swap.result.encoded[:3] == b"\xff\xd8\xff"
    assert swap.faces[0].distance_to_source < 0.6


def test_a_call_is_counted(running: RunningStack, channel_to: ChannelTo, samples: FloatArray) -> None:
    before = running.metric("encoder", "likeness_requests_total", method="EmbedSpeech", code="OK")
    embed(channel_to("encoder"), samples)
    assert running.metric("encoder", "likeness_requests_total", method="EmbedSpeech", code="OK") == before + 1
