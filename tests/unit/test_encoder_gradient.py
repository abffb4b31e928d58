"""The encoder's derivative: equal to PyTorch's, and what it says comes true in sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.reading_aloud import read_aloud
from services.common.audio import HOP_SAMPLES, MEL_BINS, SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.encoder.encoder import encode_speech
from services.encoder.gradient import GradientNetwork
from services.encoder.model import SpeakerNetwork
from services.synthesizer.adapt_hear import read_network


@pytest.fixture(scope="module")
def network() -> GradientNetwork:
    return GradientNetwork(Registry(CommonSettings().models_dir).path("encoder-ge2e"))


@pytest.fixture(scope="module")
def target() -> FloatArray:
    person = np.random.default_rng(1).random(256).astype(np.float32)
    return np.asarray(person / np.linalg.norm(person), np.float32)


def test_it_is_the_derivative_that_pytorch_finds(network: GradientNetwork, target: FloatArray) -> None:
    windows = (np.random.default_rng(0).random((3, 160, 40)) ** 4).astype(np.float32)
    module = read_network(Registry(CommonSettings().models_dir).path("encoder-ge2e"))
    inputs = torch.from_numpy(windows).requires_grad_(True)
    embeddings = module(inputs)
    cosine = torch.nn.functional.normalize(embeddings.mean(dim=0), dim=0) @ torch.from_numpy(target)
    torch.autograd.backward(cosine)
    assert inputs.grad is not None
    found, similarity, gradient = network.similarity(windows, target)
    np.testing.assert_allclose(found, embeddings.detach().numpy(), atol=1e-5)
    assert similarity == pytest.approx(cosine.item(), abs=1e-5)
    expected = inputs.grad.numpy()
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())


def test_speech_that_is_changed_as_it_says_is_more_like_the_speaker(
    network: GradientNetwork, target: FloatArray
) -> None:
    """The change is made to the samples, by a filter of what the frames' gradients have in common."""
    samples = read_aloud("A small group of farmers came down from the hills.", seed=3)
    guidance = network.guide(samples, target)
    assert guidance.gradient.shape == (-(-samples.size // HOP_SAMPLES), MEL_BINS)
    served = SpeakerNetwork(Registry(CommonSettings().models_dir).path("encoder-ge2e"), threads=1)
    heard = encode_speech(samples, served.embed, embedding_only=True, surely_speech=True).embedding
    assert guidance.similarity == pytest.approx(float(heard @ target), abs=1e-4)
    from services.common.audio.mel import mel_edges_hz

    way = guidance.gradient.sum(axis=0)
    bins_hz = np.fft.rfftfreq(samples.size, 1.0 / SAMPLE_RATE_HZ)
    nepers = np.interp(bins_hz, mel_edges_hz()[1:-1], way) * 0.05 / np.linalg.norm(way)
    filtered = np.fft.irfft(np.fft.rfft(samples) * np.exp(nepers), samples.size).astype(np.float32)
    gain = network.guide(filtered, target).similarity - guidance.similarity
    assert gain == pytest.approx(0.05 * float(np.linalg.norm(way)), rel=0.5)


def test_silence_is_refused(network: GradientNetwork, target: FloatArray) -> None:
    with pytest.raises(LikenessError) as caught:
        network.guide(np.zeros(3 * SAMPLE_RATE_HZ, np.float32), target)
    assert caught.value.reason == "SPEECH_TOO_SHORT"
    with pytest.raises(LikenessError):
        network.guide(np.zeros(0, np.float32), target)
