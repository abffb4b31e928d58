"""Markup and the user's dictionary in the front end: which symbols are spoken, how, and with which rests."""

from __future__ import annotations

import pytest

from services.common.errors import LikenessError
from services.synthesizer.text import Phrase, analyse, pronounce
from services.synthesizer.text.symbols import PAUSE


def phones(text: str, dictionary: dict[str, str] | None = None) -> list[str]:
    """Of all phrases, marks left out."""
    return [
        symbol
        for phrase in analyse(text, dictionary=dictionary)
        for symbol, index in zip(phrase.sequence.symbols, phrase.written_index, strict=True)
        if index >= 0
    ]


def words_as_phones(*words: str) -> list[str]:
    return [phone for word in words for phone in pronounce(word)]


def only(text: str) -> Phrase:
    (phrase,) = analyse(text)
    return phrase


def refusal(text: str, dictionary: dict[str, str] | None = None) -> LikenessError:
    with pytest.raises(LikenessError) as caught:
        analyse(text, dictionary=dictionary)
    return caught.value


def test_a_break_inside_a_sentence_is_a_pause_of_that_length() -> None:
    phrase = only('Hello <break time="300ms"/> world')
    ((symbol, seconds),) = phrase.rests
    assert (phrase.sequence.symbols[symbol], seconds) == (PAUSE, 0.3)
    before = [i for i in phrase.written_index[:symbol] if i >= 0]
    assert set(before) == {0} and set(phrase.written_index[symbol:]) == {1, -1}


def test_a_break_beside_a_comma_is_one_pause_and_breaks_add_up() -> None:
    phrase = only('Hello, <break time="300ms"/><break time="200ms"/> world')
    assert [seconds for _, seconds in phrase.rests] == [pytest.approx(0.5)]
    assert phrase.sequence.symbols.count(PAUSE) == 1


def test_a_break_of_no_length_takes_a_comma_away() -> None:
    assert PAUSE in only("Hello, world").sequence.symbols
    assert only('Hello, <break strength="none"/> world').sequence.symbols == only("Hello world").sequence.symbols


@pytest.mark.parametrize(
    ("text", "before_s", "pauses"),
    [
        ('One. <break time="2s"/> Two.', 0.0, [(2.0, True), (0.0, False)]),
        ('One <break time="2s"/>. Two.', 0.0, [(2.0, True), (0.0, False)]),
        ('<break time="1s"/>One. Two.', 1.0, [(0.35, False), (0.0, False)]),
        ('One. Two. <break time="3s"/>', 0.0, [(0.35, False), (3.0, True)]),
        ('One. <break strength="none"/> Two.', 0.0, [(0.0, True), (0.0, False)]),
        ('<speak><s>One</s><break time="1s"/><break time="1s"/><s>Two</s></speak>', 0.0, [(2.0, True), (0.0, False)]),
        ('One. <break time="1s"/> 😀 <break time="1s"/> Two.', 0.0, [(2.0, True), (0.0, False)]),
        ('<break time="1s"/> 😀. <break time="1s"/> Two.', 2.0, [(0.0, False)]),
        ("<speak><p>One</p><p>Two</p></speak>", 0.0, [(0.65, False), (0.0, False)]),
    ],
)
def test_breaks_between_sentences_take_the_place_of_pauses(
    text: str, before_s: float, pauses: list[tuple[float, bool]]
) -> None:
    phrases = analyse(text)
    assert phrases[0].rest_before_s == before_s
    assert [(phrase.pause_after_s, phrase.pause_is_exact) for phrase in phrases] == pauses


def test_prosody_is_known_of_each_symbol() -> None:
    phrase = only('<speak>I am <prosody rate="80%" pitch="+2st">very</prosody> glad</speak>')
    rates = {phrase.words[i]: m.rate for i, m in zip(phrase.written_index, phrase.manners, strict=True) if i >= 0}
    pitches = {phrase.words[i]: m.pitch_semitones for i, m in zip(phrase.written_index, phrase.manners, strict=True)}
    assert rates == {"I": 1.0, "am": 1.0, "very": 0.8, "glad": 1.0}
    assert pitches["very"] == 2.0 and pitches["am"] == 0.0
    assert phrase.sequence.symbols == only("I am very glad").sequence.symbols


@pytest.mark.parametrize(
    ("element", "spoken"),
    [
        ('<sub alias="World Wide Web">W3C</sub>', "world wide web"),
        ('<sub alias="3 km">x</sub>', "three kilometers"),
        ('<say-as interpret-as="characters">B2b</say-as>', "b. two b."),
        ('<say-as interpret-as="spell-out">a-1</say-as>', "a. dash one"),
        ('<say-as interpret-as="cardinal">1204</say-as>', "one thousand two hundred and four"),
        ('<say-as interpret-as="number">-3.5</say-as>', "minus three point five"),
        ('<say-as interpret-as="ordinal">21</say-as>', "twenty first"),
        ('<say-as interpret-as="digits">1984</say-as>', "one nine eight four"),
        ('<say-as interpret-as="telephone">555 0123</say-as>', "five five five , zero one two three"),
        ('<say-as interpret-as="fraction">2 3/8</say-as>', "two and three eighths"),
        ('<say-as interpret-as="date">2026-01-31</say-as>', "january thirty first , twenty twenty six"),
        ('<say-as interpret-as="date" format="dmy">1/2/2026</say-as>', "february first , twenty twenty six"),
        ('<say-as interpret-as="date" format="mdy">1/2/2026</say-as>', "january second , twenty twenty six"),
        ('<say-as interpret-as="date" format="my">3/1999</say-as>', "march nineteen ninety nine"),
        ('<say-as interpret-as="time">2:05 pm</say-as>', "two oh five p. m."),
        ('<say-as interpret-as="currency">USD 3.50</say-as>', "three dollars and fifty cents"),
        ('<say-as interpret-as="currency">£1</say-as>', "one pound"),
    ],
)
def test_readings_are_spoken_and_known_by_what_is_written(element: str, spoken: str) -> None:
    text = f"<speak>Say {element} now</speak>"
    phrase = only(text)
    assert phones(text) == words_as_phones("say", *(word for word in spoken.split() if word != ","), "now")
    assert phrase.words[1] == element.partition(">")[2].partition("<")[0]
    assert phrase.sequence.symbols.count(PAUSE) == spoken.count(",")


def test_given_phones_are_spoken() -> None:
    assert phones('<speak><phoneme alphabet="ipa" ph="təˈmɑːtoʊ">tomato</phoneme></speak>') == [
        "T",
        "AH0",
        "M",
        "AA1",
        "T",
        "OW0",
    ]
    assert phones('<speak><phoneme alphabet="x-arpabet" ph="AE1 D AH0">Ada</phoneme>\'s</speak>') == [
        "AE1",
        "D",
        "AH0",
        "Z",
    ]


@pytest.mark.parametrize(
    ("element", "told"),
    [
        ('<say-as interpret-as="date">soon</say-as>', "'soon' is no date; write it like 2026-01-31"),
        ('<say-as interpret-as="date">2026-13-01</say-as>', "is no date"),
        ('<say-as interpret-as="date" format="xyz">1/2/3</say-as>', "format='xyz'"),
        ('<say-as interpret-as="time">25:61</say-as>', "is no time"),
        ('<say-as interpret-as="cardinal">many</say-as>', "is no cardinal"),
        ('<say-as interpret-as="currency">money</say-as>', "is no currency"),
        ('<say-as interpret-as="telephone">call me</say-as>', "is no telephone"),
        ('<sub alias="!!">x</sub>', "nothing to speak in the alias"),
    ],
)
def test_readings_that_cannot_be_are_refused_with_their_place(element: str, told: str) -> None:
    error = refusal(f"<speak>\n  Say {element}</speak>")
    assert error.reason == "MARKUP_INVALID"
    assert "At line 2, column 7: " in error.detail
    assert told in error.detail


@pytest.mark.parametrize(
    ("text", "dictionary", "spoken"),
    [
        ("A GIF file", {"gif": "JH IH1 F"}, ["EY1", "JH IH1 F", "F AY1 L"]),
        ("Gif's end", {"GIF": "/dʒɪf/"}, ["JH IH1 F S", "EH1 N D"]),
        ("10 km", {"km": "clicks"}, ["T EH1 N", "K L IH1 K S"]),
        ("Dr. Orr", {"Dr.": "D R IH1 K"}, ["D R IH1 K", "AO1 R"]),
        ("SQL and PostgreSQL", {"sql": "sequel"}, ["S IY1 K W AH0 L", "AE1 N D"]),
        ("We use C++ here", {"C++": "see plus plus"}, ["W IY1", "Y UW1 Z", "S IY1 P L AH1 S P L AH1 S", "HH IH1 R"]),
        ("from New  York", {"new york": "N UW1 Y AO1 R K"}, ["F R AH1 M", "N UW1 Y AO1 R K"]),
        ("read it", {"read": "R EH1 D"}, ["R EH1 D", "IH1 T"]),
        ("Zoë ran", {"zoë": "Z OW1 IY0"}, ["Z OW1 IY0", "R AE1 N"]),
        ("7 of 77 at 1.7", {"7": "lucky"}, ["L AH1 K IY0", "AH1 V"]),
    ],
)
def test_the_dictionary_of_a_request_wins(text: str, dictionary: dict[str, str], spoken: list[str]) -> None:
    found = " ".join(phones(text, dictionary))
    expected = " ".join(spoken).replace("EY1 JH", "AH0 JH")
    assert found.startswith(expected)


def test_words_that_merely_hold_an_entry_are_left_alone() -> None:
    for text in ("The cathedral can't scatter cats.", "See www.cat.com or me@cat.org."):
        assert phones(text, {"cat": "D AO1 G", "can": "D AO1 G"}) == phones(text)


def test_an_entry_that_nothing_can_be_spoken_of_is_refused() -> None:
    error = refusal("hello", {"hello": "你好"})
    assert (error.reason, error.field) == ("PRONUNCIATION_INVALID", "dictionary.hello")


def test_words_are_given_with_the_signs_that_touch_them() -> None:
    phrase = only('"Wait," she said (softly) — a well-known 😀 voice!')
    assert phrase.punctuated == ('"Wait,"', "she", "said", "(softly)", "a", "well-", "known", "voice!")
    assert phrase.words == ("Wait", "she", "said", "softly", "a", "well", "known", "voice")


def test_markup_without_words_is_refused() -> None:
    for text in ("<speak/>", '<speak><break time="1s"/></speak>', "<break/>", "<speak><p>😀</p></speak>"):
        assert refusal(text).reason == "TEXT_UNPRONOUNCEABLE"
