"""The encoder end to end, on sound made by formula."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.batching import DynamicBatcher
from services.common.errors import LikenessError
from services.common.models import Registry
from services.encoder import SpeakerNetwork, encode_speech
from services.encoder.export import export
from services.encoder.features import mel_windows
from services.encoder.model import MODEL_NAME, average
from services.encoder.settings import EncoderSettings
from tests.conftest import synthetic_vowels


@pytest.fixture(scope="module")
def network() -> SpeakerNetwork:
    models_dir = EncoderSettings().models_dir
    export(models_dir)
    return SpeakerNetwork(Registry(models_dir).path(MODEL_NAME), threads=1)


@pytest.fixture
def batcher(network: SpeakerNetwork) -> Iterator[DynamicBatcher[FloatArray, FloatArray]]:
    shared: DynamicBatcher[FloatArray, FloatArray] = DynamicBatcher(
        lambda windows: list(network.embed(np.stack(windows))),
        max_batch_size=8,
        max_queue_delay_microseconds=20_000,
        max_queue_size=1000,
        name="encoder-test",
    )
    yield shared
    shared.close()


def test_batch_equals_singles(network: SpeakerNetwork) -> None:
    windows = mel_windows(synthetic_vowels(8.0))
    assert len(windows) > 8
    singles = np.concatenate([network.embed(window[None]) for window in windows])
    assert np.abs(network.embed(windows) - singles).max() < 1e-5


def test_batched_concurrent_recordings_equal_each_alone(
    network: SpeakerNetwork, batcher: DynamicBatcher[FloatArray, FloatArray]
) -> None:
    recordings = [synthetic_vowels(3.0 + seed, f0_hz=90 + 30 * seed, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(
                lambda samples: encode_speech(samples, lambda windows: np.stack(batcher.submit_many(list(windows)))),
                recordings,
            )
        )
    for samples, shared in zip(recordings, together, strict=True):
        assert np.abs(encode_speech(samples, network.embed).embedding - shared.embedding).max() < 1e-5


def test_embedding_has_unit_length_and_is_repeatable(network: SpeakerNetwork, vowels: FloatArray) -> None:
    first, second = encode_speech(vowels, network.embed), encode_speech(vowels, network.embed)
    assert first.embedding.shape == (256,)
    assert np.linalg.norm(first.embedding) == pytest.approx(1.0, abs=1e-5)
    assert np.array_equal(first.embedding, second.embedding)


def test_same_voice_is_closer_than_another(network: SpeakerNetwork) -> None:
    """Other vowels of the same throat against the same vowels of a smaller, higher one."""

    def embed(f0_hz: float, scale: float, seed: int) -> FloatArray:
        samples = synthetic_vowels(6.0, f0_hz=f0_hz, formant_scale=scale, seed=seed)
        return encode_speech(samples, network.embed, embedding_only=True).embedding

    deep, deep_again, high = embed(100, 1.0, 0), embed(100, 1.0, 7), embed(210, 1.2, 0)
    assert float(deep @ deep_again) > float(deep @ high) + 0.1


def test_loudness_and_pauses_change_little(network: SpeakerNetwork) -> None:
    samples = synthetic_vowels(5.0, noise_db=-80)
    original = encode_speech(samples, network.embed).embedding
    quiet = encode_speech(samples * np.float32(0.05), network.embed).embedding
    pause = np.zeros(SAMPLE_RATE_HZ, np.float32)
    padded = encode_speech(np.concatenate([pause, samples, pause]), network.embed).embedding
    assert float(original @ quiet) > 0.85
    assert float(original @ padded) > 0.97


def test_embedding_only_leaves_out_the_rest(network: SpeakerNetwork, vowels: FloatArray) -> None:
    short = encode_speech(vowels, network.embed, embedding_only=True)
    whole = encode_speech(vowels, network.embed)
    assert short.statistics is None
    assert short.quality is None
    assert whole.statistics is not None
    assert whole.quality is not None
    assert np.array_equal(short.embedding, whole.embedding)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(5 * SAMPLE_RATE_HZ, np.float32),
        synthetic_vowels(0.7),
        (0.1 * np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE_HZ)).astype(np.float32),
    ],
    ids=["nothing", "silence", "a word", "noise"],
)
def test_too_little_speech_is_refused_and_told(network: SpeakerNetwork, samples: FloatArray) -> None:
    with pytest.raises(LikenessError, match="'mine'") as raised:
        encode_speech(samples, network.embed, label="mine")
    assert raised.value.reason == "SPEECH_TOO_SHORT"
    assert "1 s" in raised.value.detail


def test_refusal_tells_how_much_was_found(network: SpeakerNetwork) -> None:
    silence = np.zeros(3 * SAMPLE_RATE_HZ, np.float32)
    with pytest.raises(LikenessError, match=r"has 0\.[4-9] s of speech in 3\.7 s"):
        encode_speech(np.concatenate([silence, synthetic_vowels(0.7)]), network.embed)


def test_not_finite_is_refused(network: SpeakerNetwork, vowels: FloatArray) -> None:
    vowels[100] = np.nan
    with pytest.raises(LikenessError) as raised:
        encode_speech(vowels, network.embed)
    assert raised.value.reason == "INVALID_FIELD"


def test_average_has_unit_length() -> None:
    assert np.linalg.norm(average(np.random.default_rng(0).random((5, 256)).astype(np.float32))) == pytest.approx(1.0)


def test_work_is_timed(network: SpeakerNetwork, vowels: FloatArray) -> None:
    started_s = time.perf_counter()
    encoded = encode_speech(vowels, network.embed)
    assert 0 < encoded.work_s <= time.perf_counter() - started_s
