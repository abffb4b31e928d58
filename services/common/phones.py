"""The sounds of English as the CMU dictionary writes them (ARPAbet): consonants, and vowels with their stress."""

from __future__ import annotations

from typing import Final

Phones = tuple[str, ...]

VOWELS: Final = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
CONSONANTS: Final = (
    *("B", "CH", "D", "DH", "F", "G", "HH", "JH", "K", "L", "M", "N"),
    *("NG", "P", "R", "S", "SH", "T", "TH", "V", "W", "Y", "Z", "ZH"),
)
STRESSES: Final = ("0", "1", "2")
PHONES: Final = (*(vowel + stress for vowel in VOWELS for stress in STRESSES), *CONSONANTS)
