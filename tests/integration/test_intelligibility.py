"""The whole point: words that were typed are heard. An independent recogniser (pocketsphinx) judges."""

from __future__ import annotations

import likeness
from benchmarks.sentences import SENTENCES
from services.common.decode import decode_audio
from services.common.recognition import recognise, word_errors, words

# Over these five sentences 0.06 was measured (flite itself has a few percent, too); the model cards tell of more.
HIGHEST_WORD_ERROR_RATE = 0.25


def test_most_words_are_recognised(client: likeness.Client, voice: likeness.Voice) -> None:
    errors = total = 0
    for sentence in SENTENCES[1:6]:
        said = words(sentence)
        heard = recognise(decode_audio(client.speak(sentence, voice=voice.id, seed=1).audio).samples)
        errors += word_errors(said, heard)
        total += len(said)
        print(f"{sentence} -> {' '.join(heard)}")
    print(f"word error rate {errors / total:.3f}")
    assert errors / total < HIGHEST_WORD_ERROR_RATE
