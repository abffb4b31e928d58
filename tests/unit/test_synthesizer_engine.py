"""The engine on the real model: streaming, timing, repeatability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, MEL_BINS, FloatArray
from services.common.audio.mel import LOG_FLOOR
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.settings import REPOSITORY_ROOT
from services.synthesizer import FrameChunk, Network, SpeechOptions, Synthesizer
from services.synthesizer.engine import FIRST_CHUNK_FRAMES, squeezed, squeezed_count
from services.synthesizer.text.frontend import SENTENCE_PAUSE_S

TEXT = "The keeper painted every window blue. Why?"


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(Registry(REPOSITORY_ROOT / "models"))


@pytest.fixture(scope="module")
def synthesizer(network: Network) -> Synthesizer:
    return Synthesizer(network)


@pytest.fixture(scope="module")
def speaker(network: Network) -> SpeakerProfile:
    return network.styles["rms"]


def whole(chunks: Iterator[FrameChunk]) -> FloatArray:
    return np.concatenate([chunk.frames for chunk in chunks])


def test_a_stream_equals_the_whole_frame_by_frame(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    at_once = whole(synthesizer.synthesize(TEXT, speaker, chunk_frames=10_000))
    for chunk_frames in (1, 7, 60):
        streamed = whole(synthesizer.synthesize(TEXT, speaker, chunk_frames=chunk_frames))
        np.testing.assert_allclose(streamed, at_once, atol=2e-4)


def test_what_was_spoken_before_is_spoken_alike(network: Network, speaker: SpeakerProfile) -> None:
    synthesizer, other = Synthesizer(network), replace(speaker, formant_warp=1.1, log_f0_median=5.3)
    first = [chunk.frames for chunk in synthesizer.synthesize(TEXT, speaker)]
    again = [chunk.frames for chunk in synthesizer.synthesize(TEXT, speaker)]
    assert [len(frames) for frames in first] == [len(frames) for frames in again]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    remembered = whole(synthesizer.synthesize(TEXT, other))
    np.testing.assert_array_equal(remembered, whole(Synthesizer(network).synthesize(TEXT, other)))
    assert not np.array_equal(remembered, np.concatenate(first))
    seeded = whole(synthesizer.synthesize(TEXT, speaker, SpeechOptions(seed=5)))
    assert not np.array_equal(seeded, np.concatenate(first))


def test_frames_are_those_of_the_contract(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    frames = whole(synthesizer.synthesize(TEXT, speaker))
    assert frames.shape[1] == FRAME_CHANNELS
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()
    assert frames[:, :MEL_BINS].min() >= np.log(LOG_FLOOR) - 1e-5
    assert np.exp(np.median(frames[:, MEL_BINS])) == pytest.approx(np.exp(speaker.log_f0_median), rel=0.15)
    assert 0 <= frames[:, -1].min() <= 0.3 < 0.8 < frames[:, -1].max() <= 1  # silence and vowels


def test_chunks_say_where_sentences_end(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    chunks = list(synthesizer.synthesize(TEXT, speaker))
    assert len(chunks[0].frames) == FIRST_CHUNK_FRAMES
    assert {chunk.sentence_count for chunk in chunks} == {2}
    assert [chunk.sentence_index for chunk in chunks if chunk.sentence_end] == [0, 1]
    assert [chunk.sentence_index for chunk in chunks] == sorted(chunk.sentence_index for chunk in chunks)
    assert [[word.word for word in chunk.words] for chunk in chunks if chunk.words] == [
        ["The", "keeper", "painted", "every", "window", "blue"],
        ["Why"],
    ]


def test_words_follow_each_other_and_stay_within_the_audio(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    chunks = list(synthesizer.synthesize(TEXT, speaker))
    duration_s = sum(len(chunk.frames) for chunk in chunks) / FRAMES_PER_SECOND
    words = [word for chunk in chunks for word in chunk.words]
    assert all(word.start_s < word.end_s for word in words)
    assert all(a.end_s <= b.start_s + 1e-3 for a, b in zip(words, words[1:], strict=False))
    assert words[0].start_s > 0
    assert words[-1].end_s <= duration_s
    assert words[-1].start_s - words[-2].end_s >= SENTENCE_PAUSE_S


def test_between_sentences_there_is_silence(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    chunks = list(synthesizer.synthesize(TEXT, speaker))
    end = next(i for i, chunk in enumerate(chunks) if chunk.sentence_end)
    pause = chunks[end].frames[-round(SENTENCE_PAUSE_S * FRAMES_PER_SECOND) :]
    np.testing.assert_allclose(pause[:, :MEL_BINS], np.log(LOG_FLOOR), rtol=1e-6)
    assert not pause[:, -1].any()


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(
    synthesizer: Synthesizer, speaker: SpeakerProfile
) -> None:
    first, again, other = (whole(synthesizer.synthesize(TEXT, speaker, SpeechOptions(seed=s))) for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert first.shape == other.shape
    assert np.abs(first - other).max() > 0.05


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.3, 2.0, 4.0])
def test_speed_scales_time(synthesizer: Synthesizer, speaker: SpeakerProfile, speed: float) -> None:
    options = SpeechOptions(speed=speed)
    plain = sum(len(chunk.frames) for chunk in synthesizer.synthesize(TEXT, speaker))
    chunks = list(synthesizer.synthesize(TEXT, speaker, options))
    frames = sum(len(chunk.frames) for chunk in chunks)
    assert frames * speed == pytest.approx(plain, rel=0.03)
    streamed = whole(synthesizer.synthesize(TEXT, speaker, options, chunk_frames=5))
    np.testing.assert_allclose(streamed, np.concatenate([chunk.frames for chunk in chunks]), atol=2e-4)
    words = [word for chunk in chunks for word in chunk.words]
    assert words[-1].end_s <= frames / FRAMES_PER_SECOND + 1e-6


def test_pitch_shift_moves_the_pitch(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    plain = whole(synthesizer.synthesize(TEXT, speaker))
    higher = whole(synthesizer.synthesize(TEXT, speaker, SpeechOptions(pitch_shift_semitones=4)))
    shift = np.median(higher[:, MEL_BINS] - plain[:, MEL_BINS]) * 12 / np.log(2)
    assert shift == pytest.approx(4.0, abs=0.05)
    np.testing.assert_array_equal(higher[:, :MEL_BINS], plain[:, :MEL_BINS])


def test_a_stranger_gets_his_own_average_spectrum(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    tilt = np.linspace(0.8, -0.8, MEL_BINS, dtype=np.float32)
    stranger = replace(speaker, mel_mean=speaker.mel_mean + tilt)
    own, other = whole(synthesizer.synthesize(TEXT, speaker)), whole(synthesizer.synthesize(TEXT, stranger))
    voiced = own[:, -1] > 0.8
    change = (other - own)[voiced, :MEL_BINS].mean(axis=0)
    assert np.corrcoef(change, tilt)[0, 1] > 0.99


@pytest.mark.parametrize("words", [1, 3, 120])
def test_one_word_and_many_words_are_all_spoken(synthesizer: Synthesizer, speaker: SpeakerProfile, words: int) -> None:
    text = " ".join(["garden", "window", "river"][i % 3] for i in range(words))
    chunks = list(synthesizer.synthesize(text, speaker))
    times = [word for chunk in chunks for word in chunk.words]
    assert len(times) == words
    seconds = sum(len(chunk.frames) for chunk in chunks) / FRAMES_PER_SECOND
    assert 0.2 * words < seconds < 0.9 * words + 0.5
    durations = [word.end_s - word.start_s for word in times]
    assert 0.15 < min(durations) <= max(durations) < 1.0  # nobody rushes, nothing drags


@pytest.mark.parametrize(
    ("name", "value"),
    [("speed", 0.2), ("speed", 4.1), ("speed", float("nan")), ("pitch_shift_semitones", 13.0)],
)
def test_options_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(LikenessError) as caught:
        SpeechOptions(**{name: value})  # type: ignore[arg-type]
    assert (caught.value.reason, caught.value.field) == ("INVALID_FIELD", name)


def test_text_is_checked_before_anything_is_streamed(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    with pytest.raises(LikenessError):
        synthesizer.synthesize("...", speaker)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.floats(0.3, 3.0),
)
def test_squeezing_time_does_not_depend_on_the_chunks(sizes: list[int], squeeze: float) -> None:
    total = sum(sizes)
    frames = np.random.default_rng(total).standard_normal((total, FRAME_CHANNELS)).astype(np.float32)
    cuts = np.cumsum(sizes)[:-1]
    chunked = np.concatenate(list(squeezed(iter(np.split(frames, cuts)), total, squeeze)))
    at_once = np.concatenate(list(squeezed(iter([frames]), total, squeeze)))
    assert len(chunked) == len(at_once) == (total if abs(squeeze - 1) < 1e-6 else squeezed_count(total, squeeze))
    np.testing.assert_allclose(chunked, at_once, atol=1e-5)


def test_squeezed_time_is_linear() -> None:
    ramp = np.repeat(np.arange(100, dtype=np.float32)[:, None], FRAME_CHANNELS, axis=1)
    (out,) = squeezed(iter([ramp]), 100, 2.5)
    np.testing.assert_allclose(out[:, 0], np.arange(40) * 2.5, atol=1e-4)
