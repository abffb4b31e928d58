"""Words recognised in audio (pocketsphinx) and the word error rate against what should have been said."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from services.common.audio import SAMPLE_RATE_HZ, FloatArray


@lru_cache(maxsize=1)
def _decoder() -> Any:
    from pocketsphinx import Decoder

    return Decoder(samprate=SAMPLE_RATE_HZ, loglevel="FATAL")


def recognise(samples: FloatArray) -> list[str]:
    """Words that pocketsphinx hears in 16 kHz mono float32 samples, shape (n,)."""
    decoder = _decoder()
    peak = float(np.abs(samples).max()) or 1.0
    padded = np.concatenate([np.zeros(3200, np.float32), samples / peak * 0.7, np.zeros(3200, np.float32)])
    decoder.reinit_feat()  # forgets the cepstral mean of the clip before, so that order does not matter
    decoder.start_utt()
    decoder.process_raw((padded * 32767).astype("<i2").tobytes(), no_search=False, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return words(hypothesis.hypstr) if hypothesis else []


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
