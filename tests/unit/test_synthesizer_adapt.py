"""Adaptation: folders of clips, the file, alignment, the encoder to learn through, and a small real adaptation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.adaptation import VoiceAdaptation
from services.common.adaptation_file import AdaptationFile, adaptation_bytes, read_adaptation
from services.common.audio import MEL_BINS, FloatArray
from services.common.encode_audio import encode_audio
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.settings import CommonSettings
from services.common.sounds import SHAPE_SIZE, SOUND_COUNT, shape_basis
from services.common.wire import profile_from_wire, profile_to_wire
from services.encoder.features import mel_windows
from services.encoder.model import SpeakerNetwork
from services.synthesizer import adapt_learn
from services.synthesizer.adapt import Adapter, starting_point
from services.synthesizer.adapt_clips import MIN_CLIPS, Clip, read_clips
from services.synthesizer.adapt_hear import hear, moved, read_network
from services.synthesizer.adapt_learn import ParallelLoss
from services.synthesizer.adapt_pairs import Pairs, align
from services.synthesizer.engine import STYLE

SENTENCES = (
    "The old clock in the hall struck nine.",
    "My sister bought a yellow coat last week.",
    "We walked along the river until it was dark.",
)


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    torch.set_num_threads(1)
    return Adapter(CommonSettings().models_dir)


@pytest.fixture(scope="module")
def learned(adapter: Adapter) -> SpeakerProfile:
    """The voice that the network learned from, as a person to be adapted to."""
    profile = adapter.network.styles[STYLE]
    return replace(profile, log_f0_median=profile.log_f0_median + 0.1)


def adaptation(profile: SpeakerProfile, network: str) -> VoiceAdaptation:
    offsets = np.random.default_rng(0).normal(0, 0.5, (SOUND_COUNT, SHAPE_SIZE)).round(2)
    return replace(starting_point(profile, network), offsets=offsets)


def in_another_manner(frames: FloatArray, adapter: Adapter, plain: FloatArray) -> FloatArray:
    """Acoustic frames of a person who makes each class of sounds otherwise."""
    space = adapter.synthesizer.voice_space(adapter.network.styles[STYLE])
    manner = np.random.default_rng(1).normal(0, 0.8, (SOUND_COUNT, SHAPE_SIZE)) @ shape_basis()
    changed = frames.copy()
    changed[:, :MEL_BINS] += (space.memberships(plain) @ manner * space.unit).astype(np.float32)
    return changed


# --- clips ---


def test_clips_are_read_from_a_table_or_from_texts_beside_them(tmp_path: Path) -> None:
    wav = encode_audio(np.zeros(1600, np.float32), "wav")
    table, beside = tmp_path / "table", tmp_path / "beside"
    (table / "wavs").mkdir(parents=True)
    beside.mkdir()
    for number in range(MIN_CLIPS):
        (table / "wavs" / f"c{number:02d}.wav").write_bytes(wav)
        (beside / f"c{number:02d}.wav").write_bytes(wav)
        (beside / f"c{number:02d}.txt").write_text("HELLO THERE\n")
    lines = [f"c{number:02d}|written 1|Hello there" for number in range(MIN_CLIPS)]
    (table / "metadata.csv").write_text("\n".join(lines))
    assert [clip.text for clip in read_clips(table)] == ["Hello there"] * MIN_CLIPS
    assert [clip.text for clip in read_clips(beside)] == ["hello there"] * MIN_CLIPS

    (beside / "c00.txt").unlink()
    with pytest.raises(LikenessError, match=f"at least {MIN_CLIPS}"):
        read_clips(beside)
    (table / "metadata.csv").write_text("\n".join([*lines, "missing|x|y"]))
    with pytest.raises(LikenessError, match="missing"):
        read_clips(table)


# --- the file ---


def test_a_file_says_what_was_learned_and_is_small(learned: SpeakerProfile) -> None:
    made = AdaptationFile(learned.embedding, adaptation(learned, "net"), 12, 0.7, 0.8)
    data = adaptation_bytes(made)
    found = read_adaptation(data, field="file")
    assert len(data) <= 64 * 1024
    assert (found.clips, found.similarity, found.adaptation.network) == (12, 0.8, "net")
    assert np.allclose(found.adaptation.offsets, made.adaptation.offsets, atol=1e-3)
    assert np.array_equal(found.adaptation.mel_mean, made.adaptation.mel_mean)


@pytest.mark.parametrize("cut", [0, 7, 8, 100, -1])
def test_a_damaged_file_is_refused(learned: SpeakerProfile, cut: int) -> None:
    data = adaptation_bytes(AdaptationFile(learned.embedding, adaptation(learned, "net"), 12, 0.7, 0.8))
    with pytest.raises(LikenessError) as refused:
        read_adaptation(data[:cut], field="file")
    assert (refused.value.reason, refused.value.field) == ("INVALID_FIELD", "file")


def test_numbers_that_are_none_are_refused(learned: SpeakerProfile) -> None:
    made = AdaptationFile(learned.embedding, adaptation(learned, "net"), 12, 0.7, 0.8)
    made.adaptation.offsets[3, 4] = np.nan
    with pytest.raises(LikenessError, match="finite"):
        read_adaptation(adaptation_bytes(made), field="file")


def test_other_classes_of_sounds_are_refused_with_the_reason(learned: SpeakerProfile) -> None:
    data = adaptation_bytes(AdaptationFile(learned.embedding, adaptation(learned, "net"), 12, 0.7, 0.8))
    name = adaptation(learned, "net").to_json()["classes"].encode()
    with pytest.raises(LikenessError, match="classes of sounds") as refused:
        read_adaptation(data.replace(name, bytes(reversed(name))), field="file")
    assert refused.value.reason == "ADAPTATION_REFUSED"


# --- spoken with ---


def test_an_adaptation_travels_with_the_profile(learned: SpeakerProfile) -> None:
    adapted = replace(learned, adaptation=adaptation(learned, "net"))
    for found in (SpeakerProfile.from_json(adapted.to_json()), profile_from_wire(profile_to_wire(adapted))):
        assert found.adaptation is not None
        assert found.adaptation.network == "net"
        assert np.allclose(found.adaptation.offsets, adaptation(learned, "net").offsets, atol=1e-4)
        assert found.adaptation.log_f0_median == pytest.approx(learned.log_f0_median)


def test_offsets_of_nothing_change_nothing(adapter: Adapter, learned: SpeakerProfile) -> None:
    plain = adapter.synthesizer.plain_frames(SENTENCES[0])
    unadapted = replace(learned, adaptation=starting_point(learned, "net"))
    expected = adapter.synthesizer.voice_space(learned)(plain)
    assert np.allclose(adapter.synthesizer.voice_space(unadapted)(plain), expected, atol=1e-4)


def test_a_stream_with_an_adaptation_equals_the_whole(adapter: Adapter, learned: SpeakerProfile) -> None:
    version = adapter.network.version
    adapted = replace(learned, adaptation=adaptation(learned, version))
    frames = [
        np.concatenate([c.frames for c in adapter.synthesizer.synthesize(SENTENCES[0], adapted, chunk_frames=size)])
        for size in (7, 60, 1000)
    ]
    plain = np.concatenate([c.frames for c in adapter.synthesizer.synthesize(SENTENCES[0], learned)])
    for streamed in frames[:2]:  # as without: rounding depends on how many frames are multiplied at once
        np.testing.assert_allclose(streamed, frames[2], atol=2e-4)
    assert np.abs(frames[0] - plain).max() > 0.1


def test_another_network_refuses_it(adapter: Adapter, learned: SpeakerProfile) -> None:
    adapted = replace(learned, adaptation=adaptation(learned, "0123456789ab"))
    with pytest.raises(LikenessError, match="0123456789ab") as refused:
        adapter.synthesizer.synthesize(SENTENCES[0], adapted)
    assert refused.value.reason == "ADAPTATION_REFUSED"


# --- what is learned from ---


def test_alignment_finds_a_stretched_copy() -> None:
    generator = np.random.default_rng(0)
    one = generator.normal(size=(40, 5)).astype(np.float32)
    stretch = np.repeat(np.arange(40), generator.integers(1, 4, 40))
    ours, theirs = align(one, one[stretch])
    assert np.array_equal(one[ours], one[stretch][theirs])
    assert (ours[0], theirs[0], ours[-1], theirs[-1]) == (0, 0, 39, len(stretch) - 1)


def test_the_module_is_the_exported_network(adapter: Adapter) -> None:
    path = Registry(CommonSettings().models_dir).path("encoder-ge2e")
    windows = mel_windows(adapter.speak(SENTENCES[0], adapter.network.styles[STYLE]))
    found = read_network(path)(torch.from_numpy(windows)).numpy()
    assert np.allclose(found, SpeakerNetwork(path, threads=1).embed(windows), atol=1e-5)


def test_moving_classes_in_what_is_heard_is_near_to_rendering_them_moved(
    adapter: Adapter, learned: SpeakerProfile
) -> None:
    """The short cut that learning takes, against the long way round."""
    base = starting_point(learned, adapter.network.version)
    offsets = np.zeros((SOUND_COUNT, SHAPE_SIZE), np.float32)
    offsets[:, 1], offsets[:, 3] = 1.5, -1.0
    space = adapter.synthesizer.voice_space(learned)
    plain = adapter.synthesizer.plain_frames(SENTENCES[0])
    shares = space.memberships(plain) * space.speech_share(plain)

    def heard(shift: FloatArray) -> torch.Tensor:
        voice = replace(learned, adaptation=replace(base, offsets=base.offsets + shift))
        return hear(adapter.engine.synthesize(adapter.synthesizer.voice_space(voice)(plain)), shares).windows

    before = hear(adapter.engine.synthesize(adapter.synthesizer.voice_space(learned)(plain)), shares)
    short_cut = moved(before, torch.from_numpy((offsets @ shape_basis() * space.unit).astype(np.float32)))
    network = adapter.differentiable
    rendered = network(heard(offsets)).mean(dim=0)
    unmoved, guessed = network(before.windows).mean(dim=0), network(short_cut).mean(dim=0)
    assert torch.dist(guessed, rendered) < 0.35 * torch.dist(unmoved, rendered)


def test_the_parallel_loss_is_least_where_the_residuals_are_explained() -> None:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.full(SOUND_COUNT, 0.05), 4000).astype(np.float32)
    offsets = generator.normal(size=(SOUND_COUNT, SHAPE_SIZE)).astype(np.float32)
    loss = ParallelLoss([Pairs(shares, shares @ offsets)])
    assert float(loss.left(torch.zeros(SOUND_COUNT, SHAPE_SIZE))) == pytest.approx(1.0)
    assert float(loss.left(torch.from_numpy(offsets))) == pytest.approx(0.0, abs=1e-4)
    assert float(loss.charge(torch.zeros(SOUND_COUNT, SHAPE_SIZE))) == 0.0


def test_an_adaptation_brings_unheard_sentences_nearer(
    adapter: Adapter, learned: SpeakerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated speech of somebody who makes each class of sounds otherwise, in a minute or less."""
    engine, synthesizer = adapter.engine, adapter.synthesizer
    person = synthesizer.voice_space(learned)

    def say(text: str, seed: int) -> FloatArray:
        plain = synthesizer.plain_frames(text, seed)
        return engine.synthesize(in_another_manner(person(plain), adapter, plain))

    texts = [f"{sentence[:-1]} {word}." for sentence in SENTENCES for word in ("again", "today", "at home", "with us")]
    clips = [Clip(str(number), say(text, number), text) for number, text in enumerate(texts)]
    monkeypatch.setattr(adapt_learn, "STEPS", 20)
    monkeypatch.setattr(adapt_learn, "STEPS_PER_ROUND", 10)
    adapted = adapter.adapt(clips)
    target = adapter.embed(say("Everybody knows the way to the station by now.", 99))
    unseen = ["Please put the books back on the shelf.", "Nobody had seen the man before that evening."]
    assert adapted.profile.adaptation is not None
    before = replace(adapted.profile, adaptation=None)
    assert adapter.similarity(adapted.profile, unseen, target) > adapter.similarity(before, unseen, target) + 0.01
    assert adapted.similarity > adapted.similarity_before
