"""Forced alignment of flite's recordings, whose phone times are exactly known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from benchmarks.flite_reference import path_of, read_audio
from benchmarks.sentences import SENTENCES
from services.common.audio import SAMPLE_RATE_HZ, FloatArray
from services.synthesizer.align import align, match, parse_phones
from services.synthesizer.forced import ForcedAligner, ForcedAlignment, aligned_symbols
from services.synthesizer.sentences import tokens_of
from services.synthesizer.text.phonemes import to_symbols
from services.synthesizer.text.symbols import base

# What `flite -voice rms -psdur` printed for these sentences, whose recordings lie in benchmarks/flite_rms.
LISTINGS = {
    0: "pau:0.158 dh:0.306 iy:0.390 ow:0.470 l:0.585 d:0.650 l:0.734 ay:0.852 t:0.915 hh:0.951 aw:1.164 s:1.253 "
    "k:1.400 iy:1.470 p:1.570 er:1.706 p:1.797 ey:1.975 n:2.014 t:2.057 ax:2.139 d:2.193 eh:2.322 v:2.362 er:2.501 "
    "iy:2.552 w:2.634 ih:2.705 n:2.757 d:2.818 ow:3.042 b:3.136 l:3.282 uw:3.365 b:3.423 ih:3.497 f:3.617 ao:3.725 "
    "r:3.804 w:3.902 ih:3.932 n:4.003 t:4.064 er:4.242 pau:4.446",
    16: "pau:0.158 dh:0.323 iy:0.383 eh:0.436 n:0.493 jh:0.596 ax:0.618 n:0.714 m:0.763 ey:0.915 d:0.962 ax:1.034 "
    "s:1.129 t:1.212 r:1.253 ey:1.402 n:1.466 jh:1.563 n:1.637 oy:1.931 z:2.073 ae:2.143 n:2.188 d:2.239 dh:2.334 "
    "eh:2.431 n:2.480 s:2.641 t:2.680 aa:2.858 p:2.964 t:3.065 pau:3.225",
    37: "pau:0.174 g:0.246 r:0.354 iy:0.432 n:0.533 p:0.623 l:0.676 ae:0.826 n:0.895 t:0.929 s:1.002 t:1.098 "
    "er:1.151 n:1.231 s:1.360 ah:1.454 n:1.526 l:1.663 ay:1.771 t:1.864 ih:1.946 n:2.004 t:2.073 uw:2.220 f:2.334 "
    "uw:2.498 d:2.596 pau:2.769",
}
MEDIAN_ERROR_S = 0.012  # of boundaries; the recogniser counts in steps of 10 ms
FAR_S = 0.05


@pytest.fixture(scope="module")
def aligner() -> ForcedAligner:
    return ForcedAligner()


@lru_cache
def recording(index: int) -> FloatArray:
    return read_audio(path_of(index))


def aligned(aligner: ForcedAligner, samples: FloatArray, index: int) -> ForcedAlignment:
    found = aligner.align(samples, tokens_of(SENTENCES[index]))
    assert found is not None
    return found


def test_boundaries_are_where_flite_put_them(aligner: ForcedAligner) -> None:
    errors = []
    for index, listing in LISTINGS.items():
        samples = recording(index)
        tokens = tokens_of(SENTENCES[index])
        exact = align(parse_phones(listing), to_symbols(tokens), 0.05, 0.1)
        heard = aligned_symbols(
            aligned(aligner, samples, index), samples.size / SAMPLE_RATE_HZ, ".", opening_s=0.05, closing_s=0.1
        )
        pairs, _ = match([base(symbol) for symbol in exact.symbols], heard.symbols)
        ends = exact.start_s + np.cumsum(exact.durations_s), heard.start_s + np.cumsum(heard.durations_s)
        errors += [ends[1][pair] - ends[0][i] for i, pair in enumerate(pairs[:-1]) if pair is not None]
        assert sum(pair is None for pair in pairs) <= 1
    assert len(errors) > 85
    assert np.median(np.abs(errors)) <= MEDIAN_ERROR_S
    assert abs(np.median(errors)) <= 0.005  # neither early nor late
    assert np.mean(np.abs(errors) > FAR_S) < 0.05


def test_symbols_are_the_front_ends_and_their_durations_fill_the_cut(aligner: ForcedAligner) -> None:
    samples = recording(37)
    heard = aligned_symbols(aligned(aligner, samples, 37), samples.size / SAMPLE_RATE_HZ, "?", 0.05, 0.1)
    expected = to_symbols([*tokens_of(SENTENCES[37])[:-1], "?"])
    assert heard.symbols == expected.symbols
    assert heard.word_edges == expected.word_edges
    assert heard.mismatch == 0
    assert heard.durations_s[0] == pytest.approx(0.05)
    assert min(heard.durations_s) > 0
    assert heard.start_s + sum(heard.durations_s) == pytest.approx(2.596 + 0.1, abs=0.08)


def test_a_silence_between_words_becomes_a_pause(aligner: ForcedAligner) -> None:
    samples = recording(37)
    cut = round(1.002 * SAMPLE_RATE_HZ)
    parted = np.concatenate([samples[:cut], np.zeros(SAMPLE_RATE_HZ // 2, np.float32), samples[cut:]])
    heard = aligned_symbols(aligned(aligner, parted, 37), parted.size / SAMPLE_RATE_HZ, ".", 0.05, 0.1)
    assert heard.symbols.count(",") == 1
    assert heard.durations_s[heard.symbols.index(",")] == pytest.approx(0.5, abs=0.08)


def test_speech_that_begins_at_once_has_no_time_before_it(aligner: ForcedAligner) -> None:
    samples = recording(37)[round(0.18 * SAMPLE_RATE_HZ) :]
    heard = aligned_symbols(aligned(aligner, samples, 37), samples.size / SAMPLE_RATE_HZ, ".", 0.05, 0.1)
    assert heard.start_s >= 0.0
    assert heard.durations_s[0] == pytest.approx(0.0, abs=0.02)
    assert min(heard.durations_s) >= 0.0


def test_wrong_words_score_lower_than_the_right_ones(aligner: ForcedAligner) -> None:
    for index in LISTINGS:
        right = aligned(aligner, recording(index), index)
        wrong = aligner.align(recording(index), tokens_of(SENTENCES[index + 1]))
        assert right.score > -1.6
        assert wrong is None or wrong.score < right.score - 1.5


def test_every_word_is_found_also_short_ones_at_the_end(aligner: ForcedAligner) -> None:
    samples = recording(37)[: round(1.002 * SAMPLE_RATE_HZ)]
    found = aligner.align(samples, ["green", "plants"])
    assert found is not None
    assert [word.word for word in found.words] == ["green", "plants"]


def test_speakers_may_take_another_reading_of_a_word(aligner: ForcedAligner) -> None:
    the = aligned(aligner, recording(0), 0).words[0]
    assert [phone.name for phone in the.phones] == ["DH", "IY"]  # before "old"; the front end says DH AH


def test_alignment_does_not_depend_on_what_was_aligned_before(aligner: ForcedAligner) -> None:
    first = aligned(aligner, recording(16), 16)
    aligned(aligner, recording(0) * 0.1, 0)
    assert aligned(aligner, recording(16), 16) == first


def test_noise_has_no_words_of_its_own(aligner: ForcedAligner) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE_HZ).astype(np.float32) * 0.1
    found = aligner.align(noise, ["green", "plants"])
    assert found is None or found.score < -3.0


def test_nothing_to_align_is_refused(aligner: ForcedAligner) -> None:
    with pytest.raises(ValueError, match="at least one word"):
        aligner.align(recording(16), [",", "."])
