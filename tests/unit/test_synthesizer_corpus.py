"""Sentences for training, and the split that keeps some of them unseen."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from services.synthesizer.dataset import is_held_out
from services.synthesizer.prepare import VOICE_SHARES, main, mixed_sentences, orders
from services.synthesizer.sentences import grammar_sentences, sentences_of, tokens_of, transcript_sentences
from services.synthesizer.text.phonemes import to_symbols
from services.synthesizer.text.symbols import ENDINGS, PHONES

SENTENCES = list(islice(grammar_sentences(Random(1)), 600))


def test_sentences_end_in_a_mark_and_hold_only_words() -> None:
    for sentence in SENTENCES:
        assert sentence[-1] in ENDINGS
        assert "{" not in sentence
        assert not any(letter.isdigit() for letter in sentence)


def test_sentences_are_short_and_long_and_cover_all_common_phones() -> None:
    lengths = [sum(token.isalpha() for token in tokens_of(sentence)) for sentence in SENTENCES]
    assert min(lengths) <= 2
    assert max(lengths) >= 25
    seen = {symbol for sentence in SENTENCES for symbol in to_symbols(tokens_of(sentence)).symbols}
    assert len(seen & set(PHONES)) >= 60
    assert {"?", "!", ".", ","} <= seen


def test_the_grammar_repeats_itself_for_a_seed() -> None:
    assert list(islice(grammar_sentences(Random(1)), 50)) == SENTENCES[:50]


def test_transcripts_and_text_become_sentences() -> None:
    assert list(transcript_sentences(["WE SPEAK OUT", "WE SPEAK OUT", "", "A 2"])) == ["we speak out."]
    text = 'He said: "Go home." In 1999 nothing happened. Is it so?\nYes, it  is so!'
    assert list(sentences_of(text)) == ["Is it so?", "Yes, it is so!"]


def test_written_and_generated_sentences_alternate_until_the_written_are_used_up() -> None:
    mixed = list(islice(mixed_sentences(["one.", "two."], [], Random(0)), 10))
    assert {mixed[0], mixed[2]} == {"one.", "two."}
    assert not {"one.", "two."} & {mixed[1], *mixed[3:]}


def test_the_clean_voices_dominate() -> None:
    plan = list(orders(SENTENCES, Random(0)))
    shares = {voice: sum(order.voice == voice for order in plan) / len(plan) for voice in VOICE_SHARES}
    assert shares["rms"] + shares["slt"] > 0.75
    assert {order.formant_scale for order in plan if order.voice == "slt"} >= {0.95, 1.0, 1.16}


def test_a_sentence_is_held_out_whoever_says_it_and_few_are() -> None:
    share = sum(is_held_out(sentence) for sentence in SENTENCES) / len(SENTENCES)
    assert 0 < share < 0.05


def test_preparing_without_flite_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--out", f"{tmp_path}/data"]) == 2
    assert "apt-get install flite" in capsys.readouterr().err
