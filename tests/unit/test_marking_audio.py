"""Marks in speech: what the marker does to samples, and that the mark is found again by who has the key."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.provenance_speech import ATTACKS, own_speech, resampled, stretched
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.common.errors import LikenessError
from services.common.marking.audio import AudioMarker, AudioMarkSearch, confirms_audio_mark, find_audio_mark
from services.common.marking.audio_layout import WINDOW_SAMPLES
from tests.conftest import synthetic_vowels

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
NUMBER = 0xC0FFEE42


@lru_cache(maxsize=1)
def vocoded() -> FloatArray:
    """One sentence of the draft vocoder."""
    return next(own_speech(np.random.default_rng(3)))


@lru_cache(maxsize=4)
def spoken(*indices: int) -> FloatArray:
    return np.concatenate([read_audio(path_of(index)) for index in indices])


def mark(samples: FloatArray, number: int = NUMBER, key: bytes = KEY, step: int = 1600) -> FloatArray:
    marker = AudioMarker(key, number)
    out = [marker.write(samples[start : start + step]) for start in range(0, samples.size, step)]
    return np.concatenate([*out, marker.finish()])


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=12))
def test_pieces_do_not_matter_and_little_is_held_back(sizes: list[int]) -> None:
    samples = vocoded()[8000 : 8000 + sum(sizes)]
    marker, out, place = AudioMarker(KEY, NUMBER), [], 0
    for size in sizes:
        out.append(marker.write(samples[place : place + size]))
        place += size
        assert 0 <= place - sum(piece.size for piece in out) < WINDOW_SAMPLES
    together = np.concatenate([*out, marker.finish()])
    assert together.shape == samples.shape
    assert together.dtype == np.float32
    assert together == pytest.approx(mark(samples, step=10_000), abs=1e-6)


def test_marking_changes_little_and_takes_nothing_from_the_level() -> None:
    speech = vocoded()
    change = mark(speech) - speech
    ratio_db = 10 * np.log10(np.sum(np.square(speech)) / np.sum(np.square(change)))
    assert 18.0 < ratio_db < 45.0
    assert np.sum(np.square(speech + change)) == pytest.approx(np.sum(np.square(speech)), rel=0.02)


def test_frequencies_outside_the_band_are_left_alone() -> None:
    speech = vocoded()
    before, after = (np.abs(np.fft.rfft(samples)) for samples in (speech, mark(speech)))
    frequencies_hz = np.fft.rfftfreq(speech.size, 1 / SAMPLE_RATE_HZ)
    for outside in (frequencies_hz < 150.0, frequencies_hz > 3600.0):
        assert np.sum(np.square(after[outside] - before[outside])) < 1e-3 * np.sum(np.square(before[outside]))


def test_silence_stays_silent() -> None:
    assert not mark(np.zeros(20_000, np.float32)).any()


def test_strength_is_told() -> None:
    marker = AudioMarker(KEY, NUMBER)
    assert marker.strength == 0.0
    marker.write(vocoded())
    assert 1.0 < marker.strength < 4.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_cannot_be_marked_is_not_released(bad: float) -> None:
    samples = vocoded()[:4000].copy()
    samples[2000] = bad
    with pytest.raises(LikenessError) as refused:
        AudioMarker(KEY, NUMBER).write(samples)
    assert refused.value.reason == "MARK_FAILED"


@pytest.mark.parametrize(("key", "number"), [(KEY[:31], 1), (KEY, 0), (KEY, 2**32), (KEY, -1)])
def test_keys_and_numbers_have_their_sizes(key: bytes, number: int) -> None:
    with pytest.raises(ValueError, match="key has 32 bytes|number is from 1"):
        AudioMarker(key, number)


@pytest.mark.parametrize("number", [1, 0x8000, 0x0001_0001, 0x8000_0000, 2**32 - 1])
def test_every_number_is_read(number: int) -> None:
    found = find_audio_mark(mark(vocoded(), number), SAMPLE_RATE_HZ, KEY)
    assert found is not None
    assert found.number == number
    assert found.confidence > 1 - 1e-9


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in ("speed", "tempo")])
def test_the_mark_is_found_after(name: str) -> None:
    attacked, rate_hz = ATTACKS[name](mark(spoken(1, 2)), np.random.default_rng(1))
    found = find_audio_mark(attacked, rate_hz, KEY)
    assert found is not None
    assert found.number == NUMBER


CHANGES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "slower": lambda samples: resampled(samples, 100, 95),
    "faster": lambda samples: resampled(samples, 1000, 1043),
    "slower at the same pitch": lambda samples: stretched(samples, 0.954),
    "faster at the same pitch": lambda samples: stretched(samples, 1.05),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_mark_is_found_when_played(change: str) -> None:
    found = find_audio_mark(CHANGES[change](mark(vocoded())), SAMPLE_RATE_HZ, KEY)
    assert found is not None
    assert found.number == NUMBER


def test_without_the_key_nothing_is_found() -> None:
    search = AudioMarkSearch(mark(vocoded()), SAMPLE_RATE_HZ)
    assert search.find(OTHER_KEY) is None
    assert search.find(KEY) is not None


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(100, np.float32),
        np.zeros(48_000, np.float32),
        np.full(48_000, np.nan, np.float32),
        np.random.default_rng(0).standard_normal(48_000).astype(np.float32),
        synthetic_vowels(4.0),
    ],
    ids=["nothing", "a moment", "silence", "no numbers", "noise", "vowels"],
)
def test_where_there_is_no_mark_none_is_found(samples: FloatArray) -> None:
    assert find_audio_mark(samples, SAMPLE_RATE_HZ, KEY) is None


def test_a_marked_part_is_found_in_a_longer_recording() -> None:
    recording = np.concatenate([spoken(3, 4, 5), mark(spoken(1, 2)), spoken(6, 7)])
    found = find_audio_mark(recording, SAMPLE_RATE_HZ, KEY)
    assert found is not None
    assert found.number == NUMBER


def test_quiet_stretches_add_up() -> None:
    """With noise 8 dB below the speech 5 s are not enough; all of a minute together are read."""
    marked = mark(np.tile(spoken(1, 2, 3, 4), 5))
    noise = np.random.default_rng(5).standard_normal(marked.size) * np.sqrt(np.mean(np.square(marked)))
    noisy = (marked + 0.4 * noise).astype(np.float32)
    assert find_audio_mark(noisy[: 5 * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ, KEY) is None
    found = find_audio_mark(noisy, SAMPLE_RATE_HZ, KEY)
    assert found is not None
    assert found.number == NUMBER


@pytest.mark.parametrize("knows_where", [False, True])
def test_the_gate_confirms_the_number_and_no_other(knows_where: bool) -> None:
    marked, plain = mark(vocoded()), vocoded()
    for start in (0, 5_000, 12_345):
        part = slice(start, start + 2 * SAMPLE_RATE_HZ)

        def confirmed(samples: FloatArray, key: bytes = KEY, number: int = NUMBER, start: int = start) -> bool:
            begins_at = start if knows_where else None
            return confirms_audio_mark(samples, SAMPLE_RATE_HZ, key, number, begins_at=begins_at)

        assert confirmed(marked[part])
        assert not confirmed(plain[part])
        assert not confirmed(marked[part], OTHER_KEY)
        assert not any(confirmed(marked[part], number=NUMBER ^ 1 << bit) for bit in range(0, 32, 5))


def test_a_mark_is_not_confirmed_where_it_does_not_begin() -> None:
    stretch = mark(vocoded())[: 2 * SAMPLE_RATE_HZ]
    assert not confirms_audio_mark(stretch, SAMPLE_RATE_HZ, KEY, NUMBER, begins_at=3_333)


def test_the_gate_sees_a_mark_that_stops() -> None:
    speech = spoken(1, 2)
    half = speech.size // 2
    spliced = np.concatenate([mark(speech)[:half], speech[half:]])
    assert confirms_audio_mark(spliced[:half], SAMPLE_RATE_HZ, KEY, NUMBER)
    assert not confirms_audio_mark(spliced[half:], SAMPLE_RATE_HZ, KEY, NUMBER)


def test_the_gate_lets_silence_pass() -> None:
    assert confirms_audio_mark(np.zeros(48_000, np.float32), SAMPLE_RATE_HZ, KEY, NUMBER)
