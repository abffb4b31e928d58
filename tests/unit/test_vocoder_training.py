"""Preparation, the draft's alignment, and sittings that resume where the last one stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.audio import HOP_SAMPLES, acoustic_frames
from services.common.encode_audio import encode_audio
from services.common.models import Registry
from services.vocoder.batches import Augmentation, Sampler, shapes
from services.vocoder.conditioning import DRAFT_TUNING, log_levels
from services.vocoder.config import WaveNetConfig
from services.vocoder.draft import DraftEngine
from services.vocoder.export import export
from services.vocoder.packed import load_packed
from services.vocoder.pqmf import BANDS, analyse
from services.vocoder.prepare import Corpus, draft_in_step, prepare
from services.vocoder.train import Trainer, TrainingOptions, train
from tests.conftest import synthetic_vowels

TINY = WaveNetConfig(layers=3, dilation_cycle=3, channels=8, condition_channels=8, mixtures=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four prepared seconds of made-up vowels per split."""
    speech = tmp_path_factory.mktemp("speech")
    rows = ["path\tcorpus\tspeaker\tgender\tage\tsplit\tseconds\ttext"]
    for number, split in enumerate(["train", "train", "dev"]):
        samples = synthetic_vowels(2.0, f0_hz=110 + 40 * number, seed=number)
        (speech / f"{number}.wav").write_bytes(encode_audio(samples, "wav"))
        rows.append(f"{number}.wav\tmade\tspeaker{number}\tf\t30\t{split}\t2.0\t")
    (speech / "short.wav").write_bytes(encode_audio(synthetic_vowels(0.3), "wav"))
    rows.append("short.wav\tmade\tspeaker9\tf\t30\ttrain\t0.3\t")
    (speech / "manifest.tsv").write_text("\n".join(rows) + "\n")
    out = tmp_path_factory.mktemp("prepared")
    assert prepare(speech, out, "train") == 320
    assert prepare(speech, out, "train") == 320  # a second run finds everything done
    assert prepare(speech, out, "dev") == 160
    return out


def options(data: Path, out: Path, **changes: object) -> TrainingOptions:
    base = TrainingOptions(data=data, out=out, minutes=0, steps=4, resume=False, batch_size=2, intervals=8)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_prepared_arrays_belong_together(corpus: Path) -> None:
    prepared = Corpus(corpus / "train")
    assert {recording.path for recording in prepared.recordings} == {"0.wav", "1.wav"}  # the short one is left out
    assert prepared.samples.size == prepared.draft.size == len(prepared.frames) * HOP_SAMPLES
    second = prepared.recordings[1]
    samples = prepared.samples[second.first_frame * HOP_SAMPLES :] / np.float32(32768)
    frames = prepared.frames[second.first_frame :].astype(np.float32)
    np.testing.assert_allclose(acoustic_frames(samples.astype(np.float32))[:, :80], frames[:, :80], atol=0.02)


def test_the_draft_is_turned_into_step_with_the_recording() -> None:
    samples = synthetic_vowels(3.0, f0_hz=150)
    samples = samples[: samples.size // HOP_SAMPLES * HOP_SAMPLES]
    frames = acoustic_frames(samples)
    engine = DraftEngine(DRAFT_TUNING)

    def likeness(draft: np.ndarray) -> float:
        return float(np.corrcoef(analyse(draft)[:, 0], analyse(samples)[:, 0])[0, 1])

    assert likeness(engine.synthesize(frames, 1)) < 0.5
    assert likeness(draft_in_step(engine, samples, frames, 1)) > 0.7


def test_levels_are_what_the_bands_turn_out_to_have() -> None:
    """Noise through known frames: every band divided by its level has about unit variance."""
    random = np.random.default_rng(0)
    samples = (0.05 * random.standard_normal(32_000)).astype(np.float32)
    levels = np.exp(log_levels(acoustic_frames(samples))[10:-10]).mean(axis=0)
    measured = analyse(samples).std(axis=0)
    np.testing.assert_allclose(levels[:3], measured[:3], rtol=0.12)  # the fourth ends beyond the mel
    assert levels[3] == pytest.approx(measured[3], rel=0.25)


def test_batches_have_the_shapes_of_the_network_and_unit_variance(corpus: Path) -> None:
    sampler = Sampler(Corpus(corpus / "train"), TINY, 20, Augmentation())
    batch = sampler.draw(np.random.default_rng(0), 16)
    assert (batch.target.shape, batch.draft.shape, batch.frames.shape) == shapes(TINY, 16, 20)
    assert batch.target.dtype == np.float32
    assert 0.4 < float(batch.target[..., :3].std()) < 2.0
    inner = slice(TINY.draft_before, -TINY.draft_after)
    both = np.stack([batch.target[..., 0].ravel(), batch.draft[:, inner, 0].ravel()])
    assert float(np.corrcoef(both)[0, 1]) > 0.5  # they run in step
    again = sampler.draw(np.random.default_rng(0), 16)
    np.testing.assert_array_equal(batch.target, again.target)


def test_training_lowers_the_loss(corpus: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(corpus, tmp_path), TINY)
    sampler = Sampler(Corpus(corpus / "train"), TINY, 8, Augmentation())
    random = np.random.default_rng(0)
    losses = [trainer.update(sampler.draw(random, 4), 3e-3) for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.1


def test_a_sitting_resumes_where_the_last_one_stopped(corpus: Path, tmp_path: Path) -> None:
    first = train(options(corpus, tmp_path, cooldown=0.0), TINY)
    assert first.step == 4
    loaded = Trainer(options(corpus, tmp_path), TINY)
    loaded.load(tmp_path / "trunk.pt")
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], value)
    for old, new in zip(first.optimisers, loaded.optimisers, strict=True):
        assert json.dumps(old.state_dict(), default=str) == json.dumps(new.state_dict(), default=str)
    second = train(options(corpus, tmp_path, resume=True, cooldown=0.5), TINY)
    assert second.step == 8
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [4, 8]
    assert len(log[0]["dev_bands"]) == BANDS
    exported = load_packed(tmp_path / "best.safetensors")
    assert exported.config == TINY
    # the trunk is from before the learning rate fell, so a third sitting does not start from a spent one
    assert torch.load(tmp_path / "trunk.pt", weights_only=True)["step"] == 6


def test_what_would_be_lost_is_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    train(options(corpus, tmp_path, steps=1), TINY)
    with pytest.raises(FileExistsError, match="resume"):
        train(options(corpus, tmp_path, steps=1), TINY)
    with pytest.raises(ValueError, match="another shape"):
        train(options(corpus, tmp_path, steps=1, resume=True), replace(TINY, channels=12))


def test_published_weights_are_registered_and_can_be_trained_further(corpus: Path, tmp_path: Path) -> None:
    train(options(corpus, tmp_path / "run", steps=2), TINY)
    models = tmp_path / "models"
    entry = export(tmp_path / "run", models, {"dnsmos": 1.5})
    assert entry.metrics["dnsmos"] == 1.5
    assert entry.metrics["step"] == 2
    published = Registry(models).path("vocoder-wavenet")
    assert published.stat().st_mode & 0o044  # others may read it
    trainer = Trainer(options(corpus, tmp_path / "next"), TINY)
    trainer.begin_from(published)
    head = trainer.network.head.weight.detach().numpy().T
    packed = load_packed(published).steps.head  # outputs come in multiples of 16
    np.testing.assert_array_equal(packed[:, : head.shape[1]], head)


def test_the_average_follows_the_network(corpus: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(corpus, tmp_path), TINY)
    sampler = Sampler(Corpus(corpus / "train"), TINY, 8, Augmentation())
    random = np.random.default_rng(0)
    begin = trainer.network.head.weight.detach().clone()
    for _ in range(10):
        trainer.update(sampler.draw(random, 2), 3e-3)
    moved = (trainer.network.head.weight - begin).norm()
    behind = (trainer.network.head.weight - trainer.average.head.weight).norm()
    assert 0 < behind.item() < moved.item()


def test_receptive_field_is_derived() -> None:
    assert WaveNetConfig().receptive_field == 511
    assert WaveNetConfig(layers=3, dilation_cycle=2).dilations == (1, 2, 1)
    with pytest.raises(ValueError, match="at least 1"):
        WaveNetConfig(layers=0)
