"""The engine on the real model: streaming, timing, repeatability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.audio import FRAME_CHANNELS, FRAMES_PER_SECOND, MEL_BINS, FloatArray
from services.common.audio.mel import LOG_FLOOR
from services.common.errors import LikenessError
from services.common.models import Registry
from services.common.profile import SpeakerProfile
from services.common.script import SENTENCE_PAUSE_S
from services.common.settings import REPOSITORY_ROOT
from services.synthesizer import FrameChunk, Network, SpeechOptions, Synthesizer
from services.synthesizer.engine import FIRST_CHUNK_FRAMES, MAX_PIECE_FRAMES
from services.synthesizer.timing import WordTime, squeezed, squeezed_count

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
    [
        ("speed", 0.2),
        ("speed", 4.1),
        ("speed", float("nan")),
        ("pitch_shift_semitones", 13.0),
        ("temperature", -0.1),
        ("temperature", 1.6),
    ],
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


def words_of(chunks: list[FrameChunk]) -> list[WordTime]:
    return [word for chunk in chunks for word in chunk.words]


MARKED = (
    '<speak><break time="500ms"/>One <break time="800ms"/> two, <break time="10ms"/> three. '
    '<break time="4s"/> <prosody rate="60%" pitch="+3st">Four <break time="1s"/> is slow</prosody> and five '
    '<prosody rate="3">is fast</prosody>.<break time="700ms"/></speak>'
)


@pytest.mark.parametrize("speed", [0.4, 1.0, 2.5])
def test_a_stream_of_marked_text_equals_the_whole(
    synthesizer: Synthesizer, speaker: SpeakerProfile, speed: float
) -> None:
    options = SpeechOptions(speed=speed)
    at_once = list(synthesizer.synthesize(MARKED, speaker, options, chunk_frames=10_000))
    for chunk_frames in (7, 60):
        chunks = list(synthesizer.synthesize(MARKED, speaker, options, chunk_frames=chunk_frames))
        np.testing.assert_allclose(whole(iter(chunks)), whole(iter(at_once)), atol=2e-4)
        assert words_of(chunks) == words_of(at_once)
    assert max(len(chunk.frames) for chunk in chunks) <= 60 + 2 * MAX_PIECE_FRAMES


def silences(frames: FloatArray) -> list[tuple[float, float]]:
    """Start and length, in seconds, of stretches of nothing."""
    quiet = (frames[:, :MEL_BINS] <= np.log(LOG_FLOOR) + 1e-4).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]])))
    return [(a / FRAMES_PER_SECOND, (b - a) / FRAMES_PER_SECOND) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_breaks_last_as_long_as_was_asked_for_whatever_the_speed(
    synthesizer: Synthesizer, speaker: SpeakerProfile, speed: float
) -> None:
    chunks = list(synthesizer.synthesize(MARKED, speaker, SpeechOptions(speed=speed)))
    words = {word.word: word for word in words_of(chunks)}
    frames = whole(iter(chunks))
    total_s = len(frames) / FRAMES_PER_SECOND
    assert words["One"].start_s >= 0.5
    assert words["two"].start_s - words["One"].end_s == pytest.approx(0.8, abs=0.02)
    assert words["three"].start_s - words["two"].end_s == pytest.approx(0.01, abs=0.02)
    assert 4.0 <= words["Four"].start_s - words["three"].end_s < 4.6
    assert words["is"].start_s > words["Four"].end_s
    assert total_s - words["fast"].end_s >= 0.7
    long = [(start, length) for start, length in silences(frames) if length > 0.4]
    assert [round(length, 1) for _, length in long if length >= 0.65][-1] == 0.7
    assert long[0] == (0.0, 0.5)
    assert any(length == 4.0 for _, length in long)


def test_words_are_heard_when_they_are_said_to_be(synthesizer: Synthesizer, speaker: SpeakerProfile) -> None:
    chunks = list(synthesizer.synthesize(MARKED, speaker))
    quiet = silences(whole(iter(chunks)))
    for word in words_of(chunks):
        middle = (word.start_s + word.end_s) / 2
        assert not any(start <= middle < start + length for start, length in quiet), word


def test_prosody_changes_the_tempo_and_the_pitch_of_its_words_alone(
    synthesizer: Synthesizer, speaker: SpeakerProfile
) -> None:
    plain = list(synthesizer.synthesize("The keeper painted every window blue.", speaker))
    marked_text = '<speak>The keeper <prosody rate="50%" pitch="-4st">painted every</prosody> window blue.</speak>'
    marked = list(synthesizer.synthesize(marked_text, speaker))
    lengths = {word.word: word.end_s - word.start_s for word in words_of(plain)}
    for word in words_of(marked):
        factor = 2.0 if word.word in ("painted", "every") else 1.0
        assert word.end_s - word.start_s == pytest.approx(factor * lengths[word.word], rel=0.02), word
    frames, times = whole(iter(marked)), {word.word: word for word in words_of(marked)}

    def pitch(first: str, last: str, of: FloatArray, spoken: dict[str, WordTime]) -> float:
        inside = of[round(spoken[first].start_s * FRAMES_PER_SECOND) : round(spoken[last].end_s * FRAMES_PER_SECOND)]
        return float(np.median(inside[inside[:, -1] > 0.8, MEL_BINS]))

    before = {word.word: word for word in words_of(plain)}
    lower = pitch("painted", "every", frames, times) - pitch("painted", "every", whole(iter(plain)), before)
    assert lower * 12 / np.log(2) == pytest.approx(-4.0, abs=0.6)
    same = pitch("window", "blue", frames, times) - pitch("window", "blue", whole(iter(plain)), before)
    assert same * 12 / np.log(2) == pytest.approx(0.0, abs=0.6)


def test_at_temperature_zero_nothing_varies_and_less_varies_below_one(
    synthesizer: Synthesizer, speaker: SpeakerProfile
) -> None:
    def frames(seed: int, temperature: float) -> FloatArray:
        return whole(synthesizer.synthesize(TEXT, speaker, SpeechOptions(seed=seed, temperature=temperature)))

    np.testing.assert_array_equal(frames(1, 0.0), frames(2, 0.0))
    spread = [float(np.abs(frames(1, t) - frames(2, t)).mean()) for t in (0.3, 0.6, 1.0, 1.5)]
    assert 0 < spread[0] < spread[1] < spread[2] < spread[3]
    np.testing.assert_array_equal(frames(1, 1.0), whole(synthesizer.synthesize(TEXT, speaker, SpeechOptions(seed=1))))


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0, 1.5])
def test_masks_are_one_on_average_and_spread_with_the_temperature(network: Network, temperature: float) -> None:
    masks = network.dropout_masks(np.random.default_rng(0), 4000, temperature)
    at_one = network.dropout_masks(np.random.default_rng(0), 4000)
    assert masks.mean() == pytest.approx(1.0, abs=0.01)
    assert masks.std() == pytest.approx(temperature * at_one.std(), abs=0.02)


def test_the_first_chunk_does_not_wait_for_the_second(network: Network, speaker: SpeakerProfile) -> None:
    made: list[int] = []

    class Counting(Synthesizer):
        def _phrase_frames(self, *arguments: Any, **named: Any) -> Iterator[FloatArray]:
            for frames in super()._phrase_frames(*arguments, **named):
                made.append(len(frames))
                yield frames

    next(iter(Counting(network).synthesize(TEXT, speaker)))
    assert made == [FIRST_CHUNK_FRAMES]
