"""Words recognised in audio by pocketsphinx, and the word error rate against what should have been said.

A small recogniser for clear English: good for telling whether words were lost, not for dictation.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from typing import Any, Final

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray

PAD_S: Final = 0.2  # of silence, before and after
LEVEL: Final = 0.7  # peak of what it hears
CHUNK_S: Final = 0.1  # it keeps Python's lock while it works on one
_in_use: Final = threading.Lock()


@lru_cache(maxsize=1)
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL")


def recognise(samples: FloatArray) -> list[str]:
    """Words that pocketsphinx hears in 16 kHz mono float32 samples, shape (n,), in about 0.3 s per second."""
    with _in_use:
        decoder = _decoder()
        decoder.reinit_feat()  # forgets the cepstral mean of the clip before, so that order does not matter
        feed(decoder, samples)
        hypothesis = decoder.hyp()
    return words(hypothesis.hypstr) if hypothesis else []


def feed(decoder: Any, samples: FloatArray) -> None:
    """Lets a decoder hear samples (n,) twice: for the cepstral mean of the whole, then in pieces, for the words."""
    peak = float(np.abs(samples).max(initial=0.0)) or 1.0
    pad = np.zeros(round(PAD_S * SAMPLE_RATE_HZ), np.float32)
    data = (np.concatenate([pad, samples / peak * LEVEL, pad]) * 32767).astype("<i2").tobytes()
    decoder.start_utt()
    decoder.process_raw(data, no_search=True, full_utt=True)
    mean = decoder.get_cmn(False)
    decoder.end_utt()
    decoder.set_cmn(mean)
    decoder.start_utt()
    step = 2 * round(CHUNK_S * SAMPLE_RATE_HZ)
    for start in range(0, len(data), step):
        decoder.process_raw(data[start : start + step], no_search=False, full_utt=False)
    decoder.end_utt()


def words(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def word_errors(said: list[str], heard: list[str]) -> int:
    """Fewest substitutions, deletions and insertions that turn `said` into `heard` (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]
