"""The text front end: written English -> symbols, sentence by sentence."""

from services.common.sentences import Sentence, split_sentences
from services.synthesizer.text.frontend import MAX_TEXT_CHARACTERS, Phrase, analyse
from services.synthesizer.text.normalise import Token, normalise
from services.synthesizer.text.phonemes import SymbolSequence, to_symbols
from services.synthesizer.text.pronounce import pronounce

__all__ = [
    "MAX_TEXT_CHARACTERS",
    "Phrase",
    "Sentence",
    "SymbolSequence",
    "Token",
    "analyse",
    "normalise",
    "pronounce",
    "split_sentences",
    "to_symbols",
]
