"""SSML and breaks: what is read, what is refused and where, and that it can be written again."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import LikenessError
from services.common.markup import has_markup, is_ssml, read_bounded, read_script
from services.common.script import Manner, Reading, Rest, Script, Words, split_script, to_ssml
from services.common.sentences import split_sentences


def refusal(text: str) -> LikenessError:
    with pytest.raises(LikenessError) as caught:
        read_script(text)
    return caught.value


def texts(script: Script) -> list[str]:
    return [sentence.spoken_text for sentence in script.sentences]


@pytest.mark.parametrize(
    "text", ["a < b", "<b>bold</b>", "5 <6> 7", "<breakfast> is ready", "<speaker> on", "x <br/> y"]
)
def test_other_angle_brackets_are_text(text: str) -> None:
    assert not has_markup(text)
    (sentence,) = read_script(text).sentences
    assert sentence.parts == (Words(text),)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab A.?!,'\"\n1<>&"), max_size=80))
def test_plain_text_has_the_sentences_of_plain_text(text: str) -> None:
    found = read_script(text).sentences
    assert [(" ".join(s.spoken_text.split()), s.paragraph_end) for s in found] == [
        (s.text, s.paragraph_end) for s in split_sentences(text)
    ]


@pytest.mark.parametrize(
    ("tag", "seconds"),
    [
        ('<break time="300ms"/>', 0.3),
        ("<break time='1.5s' />", 1.5),
        ('<break time="1s"></break>', 1.0),
        ("<break/>", 0.35),
        ('<break strength="none"/>', 0.0),
        ('<break strength="x-strong"/>', 1.2),
        ('<break strength="weak" time="2s"/>', 2.0),
    ],
)
def test_breaks_in_plain_text_and_in_ssml_are_the_same(tag: str, seconds: float) -> None:
    for text in (f"One {tag} two.", f"<speak>One {tag} two.</speak>"):
        (sentence,) = read_script(text).sentences
        assert sentence.parts == (Words("One "), Rest(seconds), Words(" two."))


def test_a_break_between_sentences_belongs_to_the_first() -> None:
    first, second = read_script('One. <break time="2s"/> Two.').sentences
    assert first.parts == (Words("One."), Rest(2.0))
    assert second.parts == (Words("Two."),)


def test_prosody_reaches_over_sentences_and_adds_up() -> None:
    script = read_script(
        '<speak>I am <prosody rate="80%">not. <prosody rate="+25%" pitch="-2st">He</prosody> is</prosody> too.</speak>'
    )
    slow = Manner(0.8)
    assert [sentence.parts for sentence in script.sentences] == [
        (Words("I am "), Words("not.", slow)),
        (Words("He", Manner(1.0, -2.0)), Words(" is", slow), Words(" too.")),
    ]


@pytest.mark.parametrize(
    ("attributes", "manner"),
    [
        ('rate="1.2"', Manner(1.2)),
        ('rate="-25%"', Manner(0.75)),
        ('rate="x-slow"', Manner(0.5)),
        ('pitch="+3st"', Manner(1.0, 3.0)),
        ('pitch="-1.5st"', Manner(1.0, -1.5)),
        ('pitch="+100%"', Manner(1.0, 12.0)),
        ('pitch="low"', Manner(1.0, -2.0)),
    ],
)
def test_rates_and_pitches(attributes: str, manner: Manner) -> None:
    (sentence,) = read_script(f"<speak><prosody {attributes}>so</prosody></speak>").sentences
    assert sentence.parts == (Words("so", manner),)


def test_elements_of_ssml_make_sentences_and_paragraphs() -> None:
    script = read_script("<speak><p>One. Two.</p><p><s>Three. So</s><s>Four</s></p>\n\nFive</speak>")
    assert texts(script) == ["One.", "Two.", "Three. So", "Four", "Five"]
    assert [sentence.paragraph_end for sentence in script.sentences[:4]] == [False, True, False, True]


def test_readings_stand_for_words_of_a_sentence() -> None:
    script = read_script(
        '<?xml version="1.0"?>\n<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang="en-US">'
        'The <sub alias="World Wide Web">WWW</sub> of <phoneme alphabet="cmu-arpabet" ph="AE1 D AH0">Ada</phoneme> is '
        '<say-as interpret-as="spell-out">X1</say-as> &amp; more.</speak>'
    )
    (sentence,) = script.sentences
    assert [part for part in sentence.parts if isinstance(part, Reading)] == [
        Reading("WWW", "alias", "World Wide Web"),
        Reading("Ada", "arpabet", "AE1 D AH0"),
        Reading("X1", "say-as", "characters"),
    ]
    assert script.spoken_text == "The  World Wide Web  of  Ada  is  X1  & more."
    assert script.written_text == "The  WWW  of  Ada  is  X1  & more."


@pytest.mark.parametrize(
    ("text", "place", "advice"),
    [
        ("<speak>a & b</speak>", "line 1, column 11", "&amp;"),
        ("<speak>\n<s>a\n</speak>", "line 3, column 3", "closed"),
        ("<speak>a", "line 1, column 9", "</speak>"),
        ("<speak>a</speak> b", "line 1, column 18", "nothing may follow"),
        ("<speak>a &nbsp; b</speak>", "line 1, column 10", "the character itself"),
        ("<speak>\n  <emphasis>a</emphasis></speak>", "line 2, column 3", "<emphasis>: this element is not supported"),
        ('<speak><prosody volume="loud">a</prosody></speak>', "line 1, column 8", "'volume' is not supported"),
        ("<speak><prosody>a</prosody></speak>", "line 1, column 8", "needs rate, pitch"),
        ('<speak><prosody rate="quick">a</prosody></speak>', "line 1, column 8", "rate='quick'"),
        ('<speak><prosody rate="5">a</prosody></speak>', "line 1, column 8", "0.25 to 4"),
        ('<speak><prosody pitch="20Hz">a</prosody></speak>', "line 1, column 8", "pitch='20Hz'"),
        ('<speak><prosody pitch="+13st">a</prosody></speak>', "line 1, column 8", "12 semitones"),
        ('<speak>a<break time="soon"/></speak>', "line 1, column 9", "time='soon'"),
        ('<speak>a<break time="11s"/></speak>', "line 1, column 9", "10 s at most"),
        ('<speak>a<break strength="iron"/></speak>', "line 1, column 9", "strength='iron'"),
        ("<speak><phoneme>a</phoneme></speak>", "line 1, column 8", "'ph' is missing"),
        ('<speak><phoneme alphabet="x-sampa" ph="a">a</phoneme></speak>', "line 1, column 8", "ipa and x-arpabet"),
        ('<speak><phoneme alphabet="x-arpabet" ph="K QQ1">a</phoneme></speak>', "line 1, column 8", "'QQ1'"),
        ('<speak><phoneme alphabet="ipa" ph="ɡʘ">a</phoneme></speak>', "line 1, column 8", "'ʘ'"),
        ('<speak><say-as interpret-as="song">a</say-as></speak>', "line 1, column 8", "interpret-as='song'"),
        ('<speak><sub alias="b">a<break/></sub></speak>', "line 1, column 24", "<sub> can hold no other element"),
        ("<speak><s>a<p>b</p></s></speak>", "line 1, column 12", "paragraphs <p> hold sentences <s>"),
        ("<speak><speak>a</speak></speak>", "line 1, column 8", "around everything else"),
        ("<speak", "line 1, column", "well-formed"),
        ('Well <break time="1s">then', "character 6", '<break time="300ms"/>'),
        ('Well <break time="1 apple"/>then', "character 6", "time='1 apple'"),
        ('Well <break length="1s"/>then', "character 6", "'length' is not supported"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place_and_what_to_do(text: str, place: str, advice: str) -> None:
    error = refusal(text)
    assert (error.reason, error.field, error.row.http_status) == ("MARKUP_INVALID", "text", 422)
    assert f"At {place}" in error.detail
    assert advice in error.detail


def test_another_language_is_refused() -> None:
    error = refusal('<speak xml:lang="de-DE">Hallo</speak>')
    assert error.reason == "LANGUAGE_UNSUPPORTED"
    assert "'de-DE'" in error.detail


def test_declarations_are_refused_before_they_do_anything() -> None:
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    for subset in (
        laughs,
        '<!ENTITY file SYSTEM "file:///etc/passwd">',
        '<!ENTITY % remote SYSTEM "http://x/">%remote;',
    ):
        started_s = time.perf_counter()
        error = refusal(f'<?xml version="1.0"?><!DOCTYPE speak [{subset}]><speak>&l11;&file;</speak>')
        assert "DOCTYPE" in error.detail
        assert time.perf_counter() - started_s < 1.0


def test_depth_and_length_are_bounded() -> None:
    nested = "<prosody rate='medium'>"
    assert "more than 32 elements" in refusal(f"<speak>{nested * 40}a{'</prosody>' * 40}</speak>").detail
    many = "<speak>" + '<sub alias="b">a</sub> ' * 1000 + "</speak>"
    assert read_bounded(many).character_count < 4096 < len(many)
    for text in ("a" * 4097, f"<speak>{'a' * 4097}</speak>", f"<speak>{'<break/>' * 5000}a</speak>"):
        with pytest.raises(LikenessError) as caught:
            read_bounded(text)
        assert caught.value.reason == "INVALID_FIELD"


SAMPLES = [
    'Hello <break time="300ms"/> world. How <break/> are you? Well < there & here.',
    '<speak>Hello <prosody rate="slow" pitch="+2st">my dear. How</prosody> are you? <sub alias="W &amp; W">W3C.</sub> '
    '<phoneme alphabet="ipa" ph="&apos;eda">x</phoneme>. <say-as interpret-as="date" format="dmy">1/2/2020</say-as>!'
    "</speak>",
    '<speak><break time="1s"/><p>One</p><break time="1s"/><p>Two. <s>Three</s> four</p>five</speak>',
]


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("limit", [1, 12, 10_000])
def test_parts_of_a_text_are_ssml_that_says_the_same(text: str, limit: int) -> None:
    script = read_script(text)
    groups = split_script(script, limit)
    assert [sentence for group in groups for sentence in group] == list(script.sentences)
    again = [sentence for group in groups for sentence in read_script(to_ssml(group)).sentences]
    assert [sentence.parts for sentence in again] == [sentence.parts for sentence in script.sentences]
    assert all(is_ssml(to_ssml(group)) for group in groups)
    sizes = [sum(sentence.character_count for sentence in group) for group in groups]
    assert all(size <= limit or len(group) == 1 for size, group in zip(sizes, groups, strict=True))


def test_two_hundred_thousand_characters_are_split_in_no_time() -> None:
    text = "This is a sentence of some length, said <break time='100ms'/> once. " * 3000
    started_s = time.process_time()
    groups = split_script(read_script(text), 600)
    assert sum(len(group) for group in groups) == 3000
    assert time.process_time() - started_s < 5.0
