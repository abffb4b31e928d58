"""Pronunciations as people write them."""

from __future__ import annotations

import pytest

from services.common.errors import LikenessError
from services.common.pronunciation import Pronunciation, from_arpabet, from_ipa, read_dictionary, read_pronunciation
from services.synthesizer.text.pronounce import dictionary


@pytest.mark.parametrize(
    ("word", "ipa"),
    [
        ("hello", "həˈloʊ"),
        ("chicken", "ˈt͡ʃɪkən"),
        ("judge", "dʒʌdʒ"),
        ("thing", "θɪŋ"),
        ("vision", "ˈvɪʒən"),
        ("bird", "bɝd"),
        ("boy", "bɔɪ"),
        ("about", "əˈbaʊt"),
        ("time", "/taɪm/"),
        ("they", "[ðeɪ]"),
        ("understand", "ˌʌndɚˈstænd"),
        ("shoe", "ʃuː"),
        ("food", "ˈfuːd"),
        ("you", "ju"),
    ],
)
def test_ipa_of_a_word_is_what_the_dictionary_has(word: str, ipa: str) -> None:
    assert from_ipa(ipa) == (dictionary()[word],)


def test_ipa_of_several_words_and_of_what_english_lacks() -> None:
    assert from_ipa("ˈnjuː ˈjɔɹk") == (("N", "Y", "UW1"), ("Y", "AO1", "R", "K"))
    assert from_ipa("lɔx") == (("L", "AO1", "K"),)
    assert from_ipa("ˈbʌtn̩") == (("B", "AH1", "T", "AH0", "N"),)


def test_arpabet_without_stresses_stresses_the_first_vowel() -> None:
    assert from_arpabet("hh ah l ow") == ("HH", "AH1", "L", "OW0")
    assert from_arpabet("HH AH0 L OW1") == ("HH", "AH0", "L", "OW1")
    assert from_arpabet("HH AH L OW1") == ("HH", "AH0", "L", "OW1")


@pytest.mark.parametrize(
    ("sound", "expected"),
    [
        ("K AE1 T", Pronunciation(words=(("K", "AE1", "T"),))),
        ("k ae1 t", Pronunciation(words=(("K", "AE1", "T"),))),
        ("K AE T", Pronunciation(words=(("K", "AE1", "T"),))),
        ("/kæt/", Pronunciation(words=(("K", "AE1", "T"),))),
        ("kət", Pronunciation(words=(("K", "AH1", "T"),))),
        ("cat", Pronunciation(respelling="cat")),
        ("nuh goo yen", Pronunciation(respelling="nuh goo yen")),
        ("IT", Pronunciation(respelling="IT")),
    ],
)
def test_the_notation_is_told_by_its_looks(sound: str, expected: Pronunciation) -> None:
    assert read_pronunciation(sound) == expected


@pytest.mark.parametrize(
    ("entries", "field", "told"),
    [
        ({"ok": "AH0", "Siobhan": "SH IH0 V AO9 N"}, "dictionary.Siobhan", "'AO9'"),
        ({"x": "K AE1 QQ"}, "dictionary.x", "'QQ' is no ARPAbet symbol"),
        ({"x": "K QQ1"}, "dictionary.x", "'QQ1' is no ARPAbet symbol"),
        ({"x": "/kʘt/"}, "dictionary.x", "'ʘ' (latin letter bilabial click)"),
        ({"x": "/st/"}, "dictionary.x", "no vowel"),
        ({"x": "..."}, "dictionary.x", "nothing in it to speak"),
        ({"x": ""}, "dictionary.x", "nothing in it to speak"),
        ({"--": "dash"}, "dictionary.--", "no letter or digit"),
        ({"Ada": "a", "ADA ": "b"}, "dictionary.ADA ", "twice"),
        ({"x" * 65: "x"}, f"dictionary.{'x' * 40}", "too long"),
        ({"x": "AH0 " * 100}, "dictionary.x", "too long"),
        ({f"w{i}": "x" for i in range(201)}, "dictionary", "at most 200"),
    ],
)
def test_a_wrong_entry_is_named(entries: dict[str, str], field: str, told: str) -> None:
    with pytest.raises(LikenessError) as caught:
        read_dictionary(entries)
    assert (caught.value.reason, caught.value.field, caught.value.row.http_status) == (
        "PRONUNCIATION_INVALID",
        field,
        422,
    )
    assert told in caught.value.detail
