"""Training, resuming and export on a few utterances made by formula."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from services.common.audio import FRAME_CHANNELS  # noqa: E402
from services.common.models import Registry  # noqa: E402
from services.common.speaker_space import normalise  # noqa: E402
from services.synthesizer import export as export_module  # noqa: E402
from services.synthesizer import train as train_module  # noqa: E402
from services.synthesizer.corpus_writer import Utterance  # noqa: E402
from services.synthesizer.dataset import Corpus, is_held_out, recorded_share  # noqa: E402
from services.synthesizer.export import EncoderGraph  # noqa: E402
from services.synthesizer.model import ModelConfig, Synthesizer, upsample  # noqa: E402
from services.synthesizer.network import EncodedPhrase, Network  # noqa: E402
from services.synthesizer.network import upsample as upsample_serving  # noqa: E402
from services.synthesizer.text import to_symbols  # noqa: E402
from services.synthesizer.text.symbols import SYMBOL_IDS  # noqa: E402
from services.synthesizer.train import Budget, Trainer, losses, train  # noqa: E402
from tests.unit.test_synthesizer_space import make_profile, speech_like  # noqa: E402

STYLES = ("rms", "slt")
TINY = ModelConfig(
    styles=STYLES, width=16, convolutions=1, style_width=4, speaker_width=4, duration_width=8, prenet_width=8,
    decoder_width=16, postnet_width=8, postnet_convolutions=2,
)  # fmt: skip
WORDS = ("garden", "window", "river", "yellow", "bicycle", "winter")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as `prepare` writes it."""
    folder = tmp_path / "data"
    folder.mkdir()
    profiles = {f"{style}@1.00": make_profile(index) for index, style in enumerate(STYLES)}
    rng = np.random.default_rng(0)
    texts = [f"{a} {b}" for a in WORDS for b in WORDS if a != b]
    texts += [text for n in range(2000) if is_held_out(text := f"river {n}")][:3]
    first = 0
    frames, lines = [], []
    for index, text in enumerate(texts):
        sequence = to_symbols(text.split()[:1] if text[-1].isdigit() else text.split())
        durations = rng.uniform(2, 6, len(sequence))
        count = round(float(durations.sum()))
        speaker = f"{STYLES[index % 2]}@1.00"
        spoken = speech_like(profiles[speaker], count, index) + np.float32(1.5)  # something to learn
        frames.append(spoken.astype(np.float16))
        utterance = Utterance(
            speaker=speaker,
            voice=STYLES[index % 2],
            first_frame=first,
            frame_count=count,
            symbols=list(sequence.symbols),
            word_edges=list(sequence.word_edges),
            durations=(durations * count / durations.sum()).tolist(),
            text=text,
        )
        lines.append(json.dumps(asdict(utterance)))
        first += count
    (folder / "frames.f16").write_bytes(np.concatenate(frames).tobytes())
    (folder / "utterances.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "speakers.json").write_text(json.dumps({n: json.loads(p.to_json()) for n, p in profiles.items()}))
    (folder / "card.json").write_text(json.dumps({"hours": 0.01}))
    return folder


def make_trainer(data: Path, out: Path) -> Trainer:
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text(json.dumps(asdict(TINY)))
    return Trainer(Corpus(data, STYLES, TINY.reduction), TINY, out, torch.device("cpu"), seed=0)


def test_batches_hold_what_was_prepared(data: Path) -> None:
    corpus = Corpus(data, STYLES, TINY.reduction)
    assert corpus.validation and corpus.training
    utterances = corpus.training[:3]
    batch = corpus.collate(utterances)
    assert batch.frames.shape[1] % TINY.reduction == 0
    for i, utterance in enumerate(utterances):
        assert float(batch.durations[i].sum()) == pytest.approx(utterance.frame_count, abs=0.01)
        assert float(batch.frame_mask[i].sum()) == utterance.frame_count
        assert [SYMBOL_IDS[s] for s in utterance.symbols] == batch.symbols[i, : len(utterance.symbols)].tolist()
        raw = np.fromfile(data / "frames.f16", np.float16).reshape(-1, FRAME_CHANNELS)
        spoken = raw[utterance.first_frame : utterance.first_frame + utterance.frame_count].astype(np.float32)
        expected = normalise(spoken, corpus.profiles[utterance.speaker])
        np.testing.assert_allclose(batch.frames[i, : utterance.frame_count].numpy(), expected, atol=1e-6)


def test_recorded_speech_gets_the_share_that_is_asked_for_and_its_speakers_equal_parts_of_it(data: Path) -> None:
    """Two speakers of recorded speech, one of whom has said eight times as much."""
    lines = [json.loads(line) for line in (data / "utterances.jsonl").read_text().splitlines()]
    for index, line in enumerate(lines[:18]):
        line |= {"voice": "recorded", "speaker": "ada" if index < 2 else "bob"}
    (data / "utterances.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    profiles = json.loads((data / "speakers.json").read_text())
    profiles |= {"ada": profiles["rms@1.00"], "bob": profiles["slt@1.00"]}
    (data / "speakers.json").write_text(json.dumps(profiles))
    styles = (*STYLES, "recorded")
    corpus = Corpus(data, styles, TINY.reduction)
    batches = corpus.batches(300, 0, share=lambda: 0.5)
    drawn = [next(batches) for _ in range(60)]
    recorded = torch.cat([batch.style for batch in drawn]) == styles.index("recorded")
    assert float(recorded.float().mean()) == pytest.approx(0.5, abs=0.05)
    speakers = torch.cat([batch.speaker for batch in drawn])[recorded]
    ada = torch.from_numpy(corpus.profiles["ada"].embedding)
    assert float(torch.all(speakers == ada, dim=1).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert corpus.style_profile("recorded").mel_mean == pytest.approx(
        (corpus.profiles["ada"].mel_mean + corpus.profiles["bob"].mel_mean) / 2
    )
    without = Corpus(data, STYLES, TINY.reduction)  # a network without that style
    assert {u.voice for u in (*without.training, *without.validation)} == set(STYLES)


def test_recorded_speech_is_favoured_late() -> None:
    shares = [recorded_share(progress) for progress in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.2 < 0.5 < shares[-1] < 1.0


def test_a_batch_gives_each_utterance_what_it_gets_alone(data: Path) -> None:
    torch.manual_seed(0)
    corpus = Corpus(data, STYLES, TINY.reduction)
    model = Synthesizer(TINY).eval()
    utterances = sorted(corpus.training[:5], key=lambda u: u.frame_count)
    with torch.no_grad():
        together = corpus.collate(utterances)
        steps = together.frames.shape[1] // TINY.reduction
        inputs, durations = model.step_inputs(
            together.symbols,
            together.edges,
            together.style,
            together.speaker,
            together.durations,
            together.lengths,
            steps,
        )
        for i, utterance in enumerate(utterances):
            alone = corpus.collate([utterance])
            steps = alone.frames.shape[1] // TINY.reduction
            single, single_durations = model.step_inputs(
                alone.symbols, alone.edges, alone.style, alone.speaker, alone.durations, alone.lengths, steps
            )
            np.testing.assert_allclose(inputs[i, :steps].numpy(), single[0].numpy(), atol=1e-5)
            np.testing.assert_allclose(
                durations[i, : len(utterance.symbols)].numpy(), single_durations[0].numpy(), atol=1e-5
            )


def test_training_lowers_the_loss_and_resumes_where_it_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "WARM_UP_STEPS", 5)
    monkeypatch.setattr(train_module, "PEAK_LEARNING_RATE", 1e-2)
    out = tmp_path / "run"
    trainer = make_trainer(data, out)
    batch = trainer.corpus.collate(trainer.corpus.training[:6])
    torch.manual_seed(0)
    before = float(losses(trainer.model, batch)["total"].detach())
    train(trainer, trainer.corpus.batches(400, 0), Budget(minutes=10, steps=40), check_every=20)
    torch.manual_seed(0)
    after = float(losses(trainer.model, batch)["total"].detach())
    assert after < 0.8 * before
    resumed = make_trainer(data, out)
    resumed.resume()
    assert resumed.progressed == trainer.progressed
    assert resumed.progressed.step == 40
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    batches = [next(trainer.corpus.batches(400, 9))] * 2
    for one in (trainer, resumed):
        torch.manual_seed(1)
        one.step(batches[0], 0.5)
    for name, value in trainer.model.state_dict().items():
        assert torch.allclose(resumed.model.state_dict()[name], value, atol=1e-7), name
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation" in line] == [20, 40]
    assert {"coarse", "fine", "duration", "generated"} <= set(lines[-1]["validation"])


def test_an_exported_network_serves_what_was_trained(data: Path, tmp_path: Path) -> None:
    out, models = tmp_path / "run", tmp_path / "models"
    trainer = make_trainer(data, out)
    train(trainer, trainer.corpus.batches(400, 0), Budget(minutes=10, steps=3), check_every=3)
    assert export_module.main(["--run", str(out), "--data", str(data), "--models-dir", str(models)]) == 0
    network = Network(Registry(models))
    assert list(network.styles) == list(STYLES)
    sequence = to_symbols(["yellow", "river"])
    speaker = network.styles["slt"].embedding
    phrase = network.encode(sequence, "slt", speaker)
    model = Synthesizer(TINY).eval()
    model.load_state_dict(trainer.average)
    symbols = torch.tensor([[SYMBOL_IDS[s] for s in sequence.symbols]])
    with torch.no_grad():
        encoded, durations, ranges = EncoderGraph(model).eval()(
            symbols, torch.tensor([sequence.word_edges]), torch.tensor([1]), torch.from_numpy(speaker)[None]
        )
        np.testing.assert_allclose(phrase.encoded, encoded[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(phrase.ranges, ranges[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(phrase.durations, np.maximum(durations[0].numpy(), 1.0), atol=1e-4)
        steps = np.arange(5)
        inputs = upsample(
            encoded,
            torch.from_numpy(phrase.durations)[None],
            ranges,
            torch.ones_like(ranges),
            torch.arange(5),
            TINY.reduction,
        )
        np.testing.assert_allclose(
            upsample_serving(phrase, steps.astype(np.float32), TINY.reduction), inputs[0].numpy(), atol=1e-4
        )
        masks = network.dropout_masks(np.random.default_rng(0), 5)
        torch_masks = torch.from_numpy(masks)
        before, states, serving_before, serving_states = (
            torch.zeros(1, 1, FRAME_CHANNELS),
            None,
            np.zeros(82, "f"),
            network.initial_states(),
        )
        for step in range(5):
            prenet = model.decoder.prenet(before, (torch_masks[step, 0], torch_masks[step, 1]))
            frames, states = model.decoder.steps(inputs[:, step : step + 1], prenet, states)
            before = frames[:, -1:]
            served, serving_states = network.step(inputs[0, step].numpy(), serving_before, masks[step], serving_states)
            serving_before = served[-1]
            np.testing.assert_allclose(served, frames[0].numpy(), atol=1e-4)
        coarse = torch.randn(1, 20, FRAME_CHANNELS)
        np.testing.assert_allclose(network.refine(coarse[0].numpy()), model.postnet(coarse)[0].numpy(), atol=1e-4)


def test_upsampling_follows_the_durations() -> None:
    phrase = EncodedPhrase(
        np.eye(3, dtype=np.float32), np.array([9.0, 3.0, 30.0], np.float32), np.full(3, 0.5, np.float32)
    )
    steps = upsample_serving(phrase, np.arange(14, dtype=np.float32), 3)
    assert steps[:, :3].argmax(axis=1).tolist() == [0] * 3 + [1] + [2] * 10
    np.testing.assert_allclose(steps[:, :3].sum(axis=1), 1.0, atol=1e-5)


def test_training_can_begin_from_published_weights(data: Path, tmp_path: Path) -> None:
    """What another run published is where this one starts: the same weights, average and validation loss."""
    corpus = Corpus(data, TINY.styles, TINY.reduction)
    device = torch.device("cpu")
    first = Trainer(corpus, TINY, tmp_path, device, seed=0)
    train(first, corpus.batches(600, 0), Budget(minutes=10, steps=3), check_every=3)
    second = Trainer(corpus, TINY, tmp_path / "second", device, seed=1)
    second.start_from(tmp_path / "best.safetensors")
    for name, value in first.average.items():
        assert torch.equal(second.average[name], value)
        assert torch.equal(second.model.state_dict()[name], value)
    assert second.progressed.step == 0


def test_a_style_that_the_published_weights_lack_begins_as_the_mean_of_theirs(data: Path, tmp_path: Path) -> None:
    published = make_trainer(data, tmp_path)
    published.check()
    wider = replace(TINY, styles=(*STYLES, "recorded"))
    trainer = Trainer(
        Corpus(data, wider.styles, wider.reduction), wider, tmp_path / "wider", torch.device("cpu"), seed=1
    )
    trainer.start_from(tmp_path / "best.safetensors")
    before = published.average["conditions.style.weight"]
    after = trainer.model.state_dict()["conditions.style.weight"]
    assert torch.equal(after[:2], before)
    torch.testing.assert_close(after[2], before.mean(dim=0))


def test_a_loss_that_is_no_number_ends_training_before_it_spoils_the_weights(data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(data, tmp_path / "run")
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    batch = trainer.corpus.collate(trainer.corpus.training[:2])
    with pytest.raises(FloatingPointError, match="at step 0"):
        trainer.step(replace(batch, durations=batch.durations - 100.0), 0.5)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name])
