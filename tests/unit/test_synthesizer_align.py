"""Flite's phones joined to the front end's symbols."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.synthesizer.align import TimedPhone, align, match, parse_phones
from services.synthesizer.prepare import Order, make_utterance
from services.synthesizer.text.phonemes import to_symbols
from services.synthesizer.text.symbols import PHONES, SYMBOL_IDS

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")

# What `flite -voice rms -psdur` printed for "the record, perhaps?"
LISTING = (
    "pau:0.176 dh:0.342 ax:0.397 r:0.536 eh:0.578 k:0.667 er:0.767 d:0.819 pau:0.890 "
    "p:1.009 er:1.107 hh:1.173 ae:1.409 p:1.488 s:1.573 pau:1.800 \n"
)


def test_a_listing_is_parsed() -> None:
    phones = parse_phones(LISTING)
    assert phones[0] == TimedPhone("pau", 0.176)
    assert len(phones) == 16


def test_phones_get_stress_and_words_from_the_front_end() -> None:
    aligned = align(parse_phones(LISTING), to_symbols(["the", "record", ",", "perhaps", "?"]), 0.05, 0.1)
    assert " ".join(aligned.symbols) == "^ DH AH0 R EH1 K ER0 D , P ER0 HH AE1 P S ?"
    assert aligned.word_edges == (0, 1, 2, 1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 2, 0)
    assert aligned.mismatch == 0


def test_durations_add_up_to_what_is_cut_out() -> None:
    aligned = align(parse_phones(LISTING), to_symbols(["the", "record", ",", "perhaps"]), 0.05, 0.1)
    assert aligned.start_s == pytest.approx(0.176 - 0.05)
    assert sum(aligned.durations_s) == pytest.approx(1.573 + 0.1 - aligned.start_s)
    assert min(aligned.durations_s) > 0


def test_what_flite_says_wins_over_what_the_dictionary_says() -> None:
    phones = parse_phones("pau:0.2 t:0.3 ax:0.4 g:0.5 ow:0.6 pau:0.8")
    aligned = align(phones, to_symbols(["to", "go"]), 0.05, 0.05)
    assert aligned.symbols == ("^", "T", "AH0", "G", "OW1", ".")


def test_a_pause_that_flite_adds_becomes_a_pause() -> None:
    phones = parse_phones("pau:0.2 g:0.3 ow:0.4 pau:0.5 hh:0.6 ow:0.7 m:0.8 pau:1.0")
    assert align(phones, to_symbols(["go", "home"]), 0.05, 0.05).symbols == (
        "^",
        "G",
        "OW1",
        ",",
        "HH",
        "OW1",
        "M",
        ".",
    )


def test_another_word_is_a_mismatch() -> None:
    phones = parse_phones("pau:0.2 s:0.3 ih:0.4 k:0.5 s:0.6 pau:0.8")
    assert align(phones, to_symbols(["garden"]), 0.05, 0.05).mismatch > 0.5


@pytest.mark.parametrize("listing", ["", "pau:0.2", "pau:0.2 pau:0.4", "g:0.1 ow:0.2 pau:0.4"])
def test_phones_without_silence_around_them_are_refused(listing: str) -> None:
    with pytest.raises(ValueError, match="silences"):
        align(parse_phones(listing), to_symbols(["go"]), 0.05, 0.05)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(PHONES), min_size=1, max_size=25))
def test_phones_that_agree_match_one_to_one(symbols: list[str]) -> None:
    matched, cost = match([symbol.rstrip("012").lower() for symbol in symbols], symbols)
    assert matched == list(range(len(symbols)))
    assert cost == 0


@needs_flite
def test_a_spoken_sentence_has_a_frame_for_every_moment_of_its_symbols() -> None:
    made = make_utterance(Order("My neighbour sold the yellow bicycle, sadly.", "slt", 1.1))
    assert made is not None
    utterance, frames, samples = made.utterance, made.frames, made.samples
    assert len(frames) == utterance.frame_count == -(-samples.size // 200)
    assert sum(utterance.durations) == pytest.approx(utterance.frame_count, abs=0.1)
    assert all(symbol in SYMBOL_IDS for symbol in utterance.symbols)
    assert len(utterance.symbols) == len(utterance.word_edges) == len(utterance.durations)
    voicing = frames[:, -1].astype(np.float32)
    ends = np.cumsum(utterance.durations)
    middles = [round(float(end - 0.5 * duration)) for end, duration in zip(ends, utterance.durations, strict=True)]
    vowels = [voicing[m] for m, s in zip(middles, utterance.symbols, strict=True) if s[-1] == "1"]
    assert np.mean(np.array(vowels) >= 0.5) > 0.8  # timings fit the sound: stressed vowels are voiced


@needs_flite
def test_a_shorter_vocal_tract_keeps_the_tempo() -> None:
    plain, scaled = (make_utterance(Order("The garden was quiet.", "rms", scale)) for scale in (1.0, 1.16))
    assert plain is not None and scaled is not None
    assert scaled.utterance.frame_count == pytest.approx(plain.utterance.frame_count, rel=0.08)
    pitch = [np.median(frames[frames[:, 81] >= 0.5, 80].astype(np.float32)) for frames in (plain.frames, scaled.frames)]
    assert np.exp(pitch[1] - pitch[0]) == pytest.approx(1.16, rel=0.05)
