"""Pronunciations as people write them -> phones: ARPAbet, the alphabet of the IPA, and a user's own dictionary.

IPA is read broadly, as General American: what English does not have becomes the nearest English sound where there is a
usual one, and is refused by name where there is none. It says nothing of tones, lengths or syllable boundaries.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.common.errors import LikenessError
from services.common.phones import CONSONANTS, PHONES, VOWELS, Phones

MAX_ENTRIES: Final = 200
MAX_WORD_CHARACTERS: Final = 64
MAX_SOUND_CHARACTERS: Final = 200
MAX_PHONES: Final = 80  # of one pronunciation
_STRESSED: Final = {"\N{MODIFIER LETTER VERTICAL LINE}": "1", "'": "1", "\N{MODIFIER LETTER LOW VERTICAL LINE}": "2"}
_UNHEARD: Final = ".ːˑ‿|-\N{COMBINING DOUBLE INVERTED BREVE}\N{COMBINING DOUBLE BREVE BELOW}ˀʰ̚"
_IPA: Final[dict[str, str]] = {
    # vowels
    "ɑ": "AA", "ɒ": "AA", "a": "AA", "ɐ": "AH", "æ": "AE", "ʌ": "AH", "ə": "AH", "ɔ": "AO", "ɛ": "EH", "e": "EH",
    "eː": "EY", "ɜ": "ER", "ɝ": "ER", "ɚ": "ER", "ɪ": "IH", "ɨ": "IH", "i": "IY", "ᵻ": "IH", "o": "OW", "ʊ": "UH",
    "u": "UW", "ʉ": "UW", "y": "UW", "aʊ": "AW", "au": "AW", "aɪ": "AY", "ai": "AY", "eɪ": "EY", "ei": "EY",
    "oʊ": "OW", "ou": "OW", "əʊ": "OW", "ɔɪ": "OY", "ɔi": "OY", "oɪ": "OY", "oi": "OY", "ər": "ER", "əɹ": "ER",
    "ɜr": "ER", "ɜɹ": "ER", "ɜːr": "ER", "ɜːɹ": "ER",
    # consonants
    "b": "B", "tʃ": "CH", "ʧ": "CH", "d": "D", "ð": "DH", "f": "F", "g": "G", "ɡ": "G", "h": "HH", "ɦ": "HH",
    "dʒ": "JH", "ʤ": "JH", "k": "K", "c": "K", "q": "K", "x": "K", "χ": "K", "l": "L", "ɫ": "L", "ɬ": "L", "ʎ": "L Y",
    "m": "M", "n": "N", "ɲ": "N Y", "ŋ": "NG", "p": "P", "r": "R", "ɹ": "R", "ɻ": "R", "ʁ": "R", "ʀ": "R", "ɾ": "D",
    "s": "S", "ʃ": "SH", "ɕ": "SH", "ʂ": "SH", "t": "T", "ʔ": "", "θ": "TH", "v": "V", "ʋ": "V", "β": "V", "w": "W",
    "ʍ": "W", "ç": "HH", "j": "Y", "z": "Z", "ʒ": "ZH", "ʐ": "ZH", "ʑ": "ZH",
    # consonants that are syllables
    "n̩": "AH N", "m̩": "AH M", "l̩": "AH L", "ɫ̩": "AH L", "ɹ̩": "ER", "r̩": "ER",
}  # fmt: skip
_LONGEST: Final = max(map(len, _IPA))
_ONLY_IPA: Final = frozenset("ɑɒɐæʌəɔɛɜɝɚɪɨʊʉʃʒθðŋɹɡɾʔɲʁʤʧːˈˌ")


@dataclass(frozen=True)
class Pronunciation:
    """How an entry of a dictionary sounds: the phones of one word or several, or words to be read instead."""

    words: tuple[Phones, ...] = ()
    respelling: str = ""


def from_arpabet(sound: str) -> Phones:
    """Phones of a word in ARPAbet, "HH AH0 L OW1", in capitals or not. Where no vowel has a stress, the first gets it.

    Raises:
        ValueError: a symbol is not one of ARPAbet's, or there is no vowel; the message names it.
    """
    phones: list[str] = []
    for symbol in sound.upper().split():
        if symbol not in PHONES and symbol not in VOWELS:
            raise ValueError(
                f"{symbol!r} is no ARPAbet symbol; vowels are {', '.join(VOWELS)}, each followed by 0, 1 or 2 for its "
                f"stress, consonants are {', '.join(CONSONANTS)}"
            )
        phones.append(symbol)
    return _stressed(phones)


def from_ipa(sound: str) -> tuple[Phones, ...]:
    """Phones of words in IPA, "həˈloʊ"; a space parts words.

    Raises:
        ValueError: a symbol has no English sound, or a word has no vowel; the message names it.
    """
    return tuple(_word_from_ipa(word) for word in _bare_ipa(sound).split())


def _bare_ipa(sound: str) -> str:
    """In composed form, without the slashes or brackets around it and without signs that make no sound."""
    composed = unicodedata.normalize("NFD", sound).replace("c\N{COMBINING CEDILLA}", "ç").strip().strip("/[]")
    return "".join(character for character in composed if character not in _UNHEARD or character == "ː")


def _word_from_ipa(word: str) -> Phones:
    phones: list[str] = []
    stress = ""
    position = 0
    while position < len(word):
        if word[position] in _STRESSED:
            stress = _STRESSED[word[position]]
            position += 1
            continue
        if word[position] == "ː":
            position += 1
            continue
        length = next((n for n in range(_LONGEST, 0, -1) if word[position : position + n] in _IPA), 0)
        if not length:
            symbol = word[position]
            name = unicodedata.name(symbol, "unnamed").lower()
            raise ValueError(f"{symbol!r} ({name}) is no IPA symbol that English has a sound for")
        for phone in _IPA[word[position : position + length]].split():
            if phone in VOWELS:
                phones.append(phone + stress)
                stress = "" if stress else stress
            else:
                phones.append(phone)
        position += length
    return _stressed(phones)


def _stressed(phones: list[str]) -> Phones:
    """Every vowel with a stress: those without one are unstressed, but for the first where none has any.

    Raises:
        ValueError: there is no vowel, or there are too many phones.
    """
    vowels = [phone for phone in phones if phone.rstrip("012") in VOWELS]
    if not vowels:
        raise ValueError("there is no vowel in it")
    if len(phones) > MAX_PHONES:
        raise ValueError(f"it has {len(phones)} sounds; at most {MAX_PHONES} are spoken")
    some_known = any(vowel[-1] in "12" for vowel in vowels) or all(vowel[-1].isdigit() for vowel in vowels)
    out: list[str] = []
    for phone in phones:
        if phone in VOWELS:
            out.append(phone + ("0" if some_known else "1"))
            some_known = True
        else:
            out.append(phone)
    return tuple(out)


def read_pronunciation(sound: str) -> Pronunciation:
    """What a dictionary says of a word: IPA (between slashes or brackets, or by its letters), ARPAbet (by a vowel with
    its stress), else words that are spoken instead.

    Raises:
        ValueError: with what is wrong.
    """
    text = sound.strip()
    if (text[:1], text[-1:]) in (("/", "/"), ("[", "]")) and len(text) > 2 or _ONLY_IPA & set(text):
        return Pronunciation(words=from_ipa(text))
    symbols = text.split()
    if _looks_like_arpabet(symbols):
        return Pronunciation(words=(from_arpabet(text),))
    if not any(character.isalnum() for character in text):
        raise ValueError("there is nothing in it to speak")
    return Pronunciation(respelling=text)


def _looks_like_arpabet(symbols: list[str]) -> bool:
    """By a vowel with its stress, or several capitals of which one has a digit or all are symbols of ARPAbet."""
    if any(re.fullmatch(rf"(?:{'|'.join(VOWELS)})\d", symbol.upper()) for symbol in symbols):
        return True
    if len(symbols) < 2 or not all(re.fullmatch(r"[A-Z]{1,2}\d?", symbol) for symbol in symbols):
        return False
    return any(symbol[-1].isdigit() for symbol in symbols) or set(symbols) <= {*VOWELS, *CONSONANTS}


def read_dictionary(entries: Mapping[str, str]) -> dict[str, Pronunciation]:
    """A user's dictionary: written word, case-folded and with single spaces -> how it sounds.

    Raises:
        LikenessError: PRONUNCIATION_INVALID, with the entry at fault.
    """
    if len(entries) > MAX_ENTRIES:
        raise _refused("", f"The dictionary has {len(entries)} entries; at most {MAX_ENTRIES} are read.")
    found: dict[str, Pronunciation] = {}
    for written, sound in entries.items():
        word = " ".join(unicodedata.normalize("NFC", written).split()).casefold()
        if not any(character.isalnum() for character in word):
            raise _refused(written, f"The entry {written[:40]!r} has no letter or digit that a text could hold.")
        if len(word) > MAX_WORD_CHARACTERS or len(sound) > MAX_SOUND_CHARACTERS:
            raise _refused(
                written,
                f"The entry {written[:40]!r} is too long: at most {MAX_WORD_CHARACTERS} characters are a word, and "
                f"{MAX_SOUND_CHARACTERS} its pronunciation.",
            )
        if word in found:
            raise _refused(written, f"The entry {written!r} is there twice; capitals make no difference.")
        try:
            found[word] = read_pronunciation(sound)
        except ValueError as error:
            told = f"The pronunciation {sound!r} of {written!r} cannot be read: {error}."
            raise _refused(written, told) from error
    return found


def _refused(written: str, detail: str) -> LikenessError:
    return LikenessError(
        "PRONUNCIATION_INVALID", detail, field=f"dictionary.{written[:40]}" if written else "dictionary"
    )
