"""EncoderService over gRPC: what its proto promises; and its process from start to SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from likeness.v1 import encoder_pb2, encoder_pb2_grpc, types_pb2
from services.common.audio import FloatArray
from services.common.client import open_channel, raise_from_rpc
from services.common.encode_audio import encode_audio
from services.common.errors import LikenessError
from services.common.settings import REPOSITORY_ROOT
from services.common.store import media_reference, open_store
from services.common.wire import chunked, gradient_from_wire, profile_from_wire, samples_to_s16
from services.encoder.export import export
from services.encoder.servicer import EncoderServicer
from services.encoder.settings import EncoderSettings
from tests.conftest import synthetic_vowels

Request = encoder_pb2.EmbedSpeechRequest
encoder_stub: Any = encoder_pb2_grpc.EncoderServiceStub
NOT_STORED = types_pb2.MediaReference(key="a", sha256="0" * 64)
OUTSIDE = types_pb2.MediaReference(key="../../etc/passwd", sha256="0" * 64)


@pytest.fixture
def settings(tmp_path: Path) -> EncoderSettings:
    export(REPOSITORY_ROOT / "models")
    return EncoderSettings(
        grants="off",
        data_dir=tmp_path,
        models_dir=REPOSITORY_ROOT / "models",
        port=0,
        metrics_port=0,
        threads=1,
        drain_wait_s=0.0,
    )


@pytest.fixture
def stub(settings: EncoderSettings, start_stage: Any, connect: Any) -> Any:
    add = encoder_pb2_grpc.add_EncoderServiceServicer_to_server
    server = start_stage(EncoderServicer(settings), "EncoderService", add, encoder_pb2.DESCRIPTOR, settings=settings)
    return encoder_stub(connect(server))


def requests_of(samples: FloatArray, **options: Any) -> Iterator[Request]:
    if options:
        yield Request(options=options)
    for piece in chunked(samples_to_s16(samples)):
        yield Request(samples_s16=piece)


def refusal(stub: Any, requests: Iterator[Request]) -> LikenessError:
    with pytest.raises(grpc.RpcError) as raised:
        stub.EmbedSpeech(requests, timeout=120)
    with pytest.raises(LikenessError) as told:
        raise_from_rpc(raised.value, stage="encoder")
    return told.value


def test_profile_and_quality_of_a_recording(stub: Any) -> None:
    reply = stub.EmbedSpeech(requests_of(synthetic_vowels(6.0, f0_hz=140)), timeout=120)
    profile = profile_from_wire(reply.profile)  # validates
    assert np.exp(profile.log_f0_median) == pytest.approx(140, rel=0.06)
    assert reply.profile.formant_warp == 0.0  # not calibrated
    assert reply.quality.total_seconds == pytest.approx(6.0)
    assert 3.0 < reply.quality.speech_seconds < 6.0
    assert reply.quality.snr_db > 20
    assert 0 < reply.quality.speaker_consistency <= 1


def test_embedding_only(stub: Any) -> None:
    samples = synthetic_vowels(3.0)
    reply = stub.EmbedSpeech(requests_of(samples, embedding_only=True), timeout=120)
    whole = stub.EmbedSpeech(requests_of(samples), timeout=120)
    assert list(reply.profile.embedding) == pytest.approx(list(whole.profile.embedding), abs=1e-5)
    assert not reply.profile.mel_mean
    assert not reply.HasField("quality")


def test_sounds_come_with_the_profile(stub: Any) -> None:
    profile = profile_from_wire(stub.EmbedSpeech(requests_of(synthetic_vowels(6.0)), timeout=120).profile)
    assert profile.sounds is not None
    assert 100 < profile.sounds.frames.sum() < 6.0 * 80
    assert 0.8 < profile.sounds.formant_scale < 1.3


def test_what_is_surely_speech_is_embedded_alike_without_its_pitch(stub: Any) -> None:
    samples = synthetic_vowels(4.0, noise_db=-90.0)
    usual = stub.EmbedSpeech(requests_of(samples, embedding_only=True), timeout=120).profile.embedding
    quick = stub.EmbedSpeech(requests_of(samples, embedding_only=True, surely_speech=True), timeout=120)
    assert float(np.dot(usual, quick.profile.embedding)) > 0.98
    error = refusal(stub, requests_of(samples, surely_speech=True))
    assert (error.reason, error.field) == ("INVALID_FIELD", "surely_speech")


def test_guidance_tells_the_likeness_and_the_way(stub: Any) -> None:
    samples = synthetic_vowels(4.0, noise_db=-90.0)
    own = stub.EmbedSpeech(requests_of(samples, embedding_only=True, surely_speech=True), timeout=120).profile.embedding
    other = stub.EmbedSpeech(requests_of(synthetic_vowels(4.0, f0_hz=220)), timeout=120).profile.embedding
    told = stub.GuideSpeech(encoder_pb2.GuideSpeechRequest(target=other, samples_s16=samples_to_s16(samples)))
    assert told.similarity == pytest.approx(float(np.dot(own, other)), abs=1e-3)
    gradient = gradient_from_wire(told.gradient_f32)
    assert gradient.shape == (320, 80)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0
    itself = stub.GuideSpeech(encoder_pb2.GuideSpeechRequest(target=own, samples_s16=samples_to_s16(samples)))
    assert itself.similarity == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (encoder_pb2.GuideSpeechRequest(target=[0.1] * 3, samples_s16=b"00"), "INVALID_FIELD", "target"),
        (encoder_pb2.GuideSpeechRequest(target=[0.1] * 256, samples_s16=b"0"), "INVALID_FIELD", "samples_s16"),
        (encoder_pb2.GuideSpeechRequest(target=[0.1] * 256), "SPEECH_TOO_SHORT", ""),
        (encoder_pb2.GuideSpeechRequest(target=[0.1] * 256, samples_s16=bytes(32_000)), "SPEECH_TOO_SHORT", ""),
        (
            encoder_pb2.GuideSpeechRequest(target=[0.1] * 256, samples_s16=bytes(2 * 31 * 16_000)),
            "MEDIA_TOO_LARGE",
            "samples_s16",
        ),
    ],
)
def test_bad_requests_for_guidance_are_refused(stub: Any, request_: Any, reason: str, field: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.GuideSpeech(request_, timeout=120)
    with pytest.raises(LikenessError) as told:
        raise_from_rpc(raised.value, stage="encoder")
    assert (told.value.reason, told.value.field or "") == (reason, field)


def test_media_by_reference_equals_samples(stub: Any, settings: EncoderSettings) -> None:
    samples, store = synthetic_vowels(3.0), open_store(settings)
    stored = store.put("uploads/reference.flac", encode_audio(samples, "flac"), "audio/flac")
    by_reference = stub.EmbedSpeech(iter([Request(media=media_reference(store, stored))]), timeout=120)
    inline = stub.EmbedSpeech(requests_of(samples), timeout=120)
    assert list(by_reference.profile.embedding) == pytest.approx(list(inline.profile.embedding), abs=1e-3)


def test_concurrent_recordings_do_not_mix(stub: Any) -> None:
    recordings = [synthetic_vowels(3.0, f0_hz=100 + 40 * number, seed=number) for number in range(4)]
    alone = [stub.EmbedSpeech(requests_of(samples), timeout=120).profile.embedding for samples in recordings]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda samples: stub.EmbedSpeech(requests_of(samples), timeout=120), recordings))
    for expected, reply in zip(alone, together, strict=True):
        assert list(reply.profile.embedding) == pytest.approx(list(expected), abs=1e-5)


def test_too_little_speech_names_the_recording(stub: Any) -> None:
    error = refusal(stub, requests_of(np.zeros(32_000, np.float32), label="kitchen.wav"))
    assert error.reason == "SPEECH_TOO_SHORT"
    assert "kitchen.wav" in error.detail


@pytest.mark.parametrize(
    ("requests", "reason", "field"),
    [
        ([], "SPEECH_TOO_SHORT", None),
        ([Request()], "INVALID_FIELD", "part"),
        ([Request(samples_s16=b"abc")], "INVALID_FIELD", "samples_s16"),
        ([Request(samples_s16=b"ab"), Request(options={"label": "late"})], "INVALID_FIELD", "options"),
        ([Request(media=NOT_STORED), Request(samples_s16=b"ab")], "INVALID_FIELD", "media"),
        ([Request(media=NOT_STORED)], "NOT_FOUND", "key"),
        ([Request(media=OUTSIDE)], "INVALID_FIELD", "key"),
    ],
)
def test_malformed_requests_name_the_field(stub: Any, requests: list[Any], reason: str, field: str | None) -> None:
    error = refusal(stub, iter(requests))
    assert (error.reason, error.field) == (reason, field)


def test_media_that_is_no_audio_is_refused(stub: Any, settings: EncoderSettings) -> None:
    store = open_store(settings)
    stored = store.put("uploads/picture.wav", b"\x89PNG\r\n\x1a\n" + bytes(100), "audio/wav")
    error = refusal(stub, iter([Request(media=media_reference(store, stored))]))
    assert (error.reason, error.field) == ("MEDIA_UNSUPPORTED", "media")
    assert "PNG" in error.detail


def test_recording_over_ten_minutes_is_refused(stub: Any) -> None:
    piece = bytes(64 * 1024)
    error = refusal(stub, (Request(samples_s16=piece) for _ in range(300)))
    assert error.reason == "MEDIA_TOO_LARGE"


def start_process(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    own = {"LIKENESS_DATA_DIR": str(tmp_path), "LIKENESS_PORT": "0", "LIKENESS_METRICS_PORT": "0"}
    own |= {"LIKENESS_GRANTS": "off", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "services.encoder"],
        cwd=REPOSITORY_ROOT,
        env=os.environ | own,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_process_serves_and_leaves_on_sigterm(tmp_path: Path, settings: EncoderSettings) -> None:
    process = start_process(tmp_path, LIKENESS_THREADS="1", LIKENESS_DRAIN_WAIT_S="0.1")
    assert process.stderr is not None
    lines: list[dict[str, Any]] = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["message"] == "serving":
            break
    address = next(line["address"] for line in lines if line["message"] == "listening")
    with open_channel(address) as channel:
        reply = encoder_stub(channel).EmbedSpeech(requests_of(synthetic_vowels(3.0)), timeout=120)
        assert reply.quality.speech_seconds > 1
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert '"message": "stopped"' in rest


def test_process_without_weights_says_so_and_fails(tmp_path: Path) -> None:
    process = start_process(tmp_path, LIKENESS_MODELS_DIR=str(tmp_path / "nothing"))
    log = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "make setup" in log
    assert "encoder-ge2e" in log
