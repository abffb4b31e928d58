"""The audio mark's code and its statistics: identities, a slow oracle, and what chance does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.flite_reference import path_of, read_audio
from services.common.marking.audio_code import agreement, chance_of, read_number, statistic_for
from services.common.marking.audio_layout import BANDS, CHIPS, FRAMES, SYNC_CHIPS, hadamard, layout_of, pattern_of
from services.common.marking.audio_search import SPEEDS, fold_stretches
from services.common.marking.audio_tiles import PHASES, fold, spectra_of

KEY = bytes(32)


def keys(count: int) -> list[bytes]:
    random = np.random.default_rng(count)
    return [random.bytes(32) for _ in range(count)]


def tiles(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((FRAMES, BANDS)).astype(np.float32)


def test_every_chip_belongs_to_the_sync_or_to_one_symbol() -> None:
    layout = layout_of(KEY)
    sync = np.flatnonzero(layout.sync.reshape(-1))
    assert sync.size == SYNC_CHIPS
    assert sorted([*sync, *layout.words.reshape(-1)]) == list(range(CHIPS))


def test_hadamard_rows_are_orthogonal() -> None:
    assert np.array_equal(hadamard(64) @ hadamard(64).T, 64 * np.eye(64))


def test_patterns_of_numbers_and_keys_have_little_in_common() -> None:
    pattern = pattern_of(KEY, 77)
    assert set(np.unique(pattern)) == {-1.0, 1.0}
    for number in (76, 78, 77 << 16, 77 | 1 << 31):
        shared = float((pattern * pattern_of(KEY, number)).mean())
        assert shared < 0.65  # sync and one symbol are a half; another word of a symbol agrees by chance alone
    for key in keys(20):
        assert abs(float((pattern * pattern_of(key, 77)).mean())) < 5 / np.sqrt(CHIPS)


@pytest.mark.parametrize("number", [1, 65_535, 65_536, 0x1234_5678, 2**32 - 1])
def test_a_pattern_is_read_as_its_number(number: int) -> None:
    read = read_number(pattern_of(KEY, number), layout_of(KEY))
    assert read is not None
    assert read.number == number
    assert read.statistic == pytest.approx(np.sqrt(CHIPS), rel=1e-3)
    assert read.second < 0.7 * read.statistic


def test_a_pattern_is_read_in_noise() -> None:
    """With a statistic around 14 the number is right each time."""
    layout = layout_of(KEY)
    numbers = [int(number) for number in np.random.default_rng(4).integers(1, 2**32, 40)]
    for seed, number in enumerate(numbers):
        read = read_number(tiles(seed) + 14 / np.sqrt(CHIPS) * pattern_of(KEY, number), layout)
        assert read is not None
        assert read.number == number


def test_what_cannot_reach_the_least_statistic_is_not_read() -> None:
    layout = layout_of(KEY)
    assert read_number(tiles(1), layout, least=20.0) is None
    read = read_number(tiles(1), layout)
    assert read is not None
    assert (
        read_number(tiles(1), layout, least=read.statistic) is not None
    )  # the quick bound refuses nothing that reaches it


def test_agreement_is_the_sum_over_tiles() -> None:
    folded, pattern = tiles(2), layout_of(KEY).sync
    scores = agreement(folded, pattern)
    for frame in (0, 1, 77):
        turned = np.roll(folded, -frame, axis=0)
        direct = (turned * pattern).sum() / np.sqrt(np.square(turned).sum() * SYNC_CHIPS / CHIPS)
        assert scores[frame] == pytest.approx(direct, abs=1e-4)


def test_agreement_of_speech_with_random_keys_is_as_if_drawn_from_a_normal_distribution() -> None:
    """What bounds false finds: the key's signs are random, whatever the speech is."""
    folded = fold_stretches(read_audio(path_of(1)))[0, 0]
    scores = np.concatenate([agreement(folded, layout_of(key).sync)[::8] for key in keys(150)])
    assert abs(scores.mean()) < 0.1
    assert scores.std() == pytest.approx(1.0, abs=0.08)
    assert np.abs(scores).max() < 5.5


def test_chance_bounds_how_often_random_signs_agree() -> None:
    signs = np.random.default_rng(9).choice([-1.0, 1.0], (20_000, 64))
    weights = np.linspace(0.1, 3.0, 64)
    statistics = signs @ weights / np.linalg.norm(weights)
    for statistic in (1.0, 2.0, 3.0):
        assert (statistics >= statistic).mean() <= chance_of(statistic, 1.0)
    assert chance_of(0.0, 10.0) == 1.0
    assert chance_of(9.0, 1e6) == pytest.approx(1e6 * chance_of(9.0, 1.0))


@pytest.mark.parametrize("chance", [1e-3, 1e-5, 1e-9])
def test_the_statistic_for_a_chance_has_it(chance: float) -> None:
    assert chance_of(statistic_for(chance, 1e12), 1e12) == pytest.approx(chance, rel=1e-3)


def test_folding_puts_periods_upon_each_other() -> None:
    """Twice the same period of sound stands out twice as much as once, away from the seams."""
    power = spectra_of(np.tile(read_audio(path_of(1))[:20_480], 3))
    per_period = FRAMES * PHASES
    once, twice = fold(power[:per_period])[0], fold(power[: 2 * per_period])[0]
    inner = slice(40, FRAMES - 8)  # away from the seams, and from the memory of what was loud before
    assert twice[inner] == pytest.approx(2 * once[inner], rel=0.25, abs=0.3)


def test_every_length_of_sound_can_be_folded() -> None:
    """A length and speed at which the last chip begins where the levels end, but for rounding."""
    power = np.ones((1501, 161), np.float32)
    for speed in SPEEDS:
        for length in (93, 94, 95, 96, 999, 1000, 1001, 1500, 1501):
            assert np.isfinite(fold(power[:length], speed, pitched=False)).all()
