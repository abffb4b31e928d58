"""The classes of sounds from what the network says: `python -m services.synthesizer.make_sounds [--out FILE]`.

Sentences of the training grammar are spoken, pauses left out, and their frames grouped by k-means on what sounds are
told apart by. Whoever exports another network makes the classes again and gives them another name (`CLASSES_NAME` in
services/common/sounds.py): a voice measured with the classes before then keeps its averages and loses its sounds.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.audio import MEL_BINS, FloatArray
from services.common.models import Registry
from services.common.settings import CommonSettings
from services.common.sounds import CLASSES_FILE, SOUND_COUNT, SoundClasses, heard
from services.common.speaker_space import VOICING
from services.synthesizer.engine import Synthesizer
from services.synthesizer.network import Network
from services.synthesizer.sentences import grammar_sentences
from services.synthesizer.space import SILENCE_LEVEL

SENTENCE_COUNT: Final = 80
ROUNDS: Final = 25
SEED: Final = 0


def group(features: FloatArray, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """k-means: the group of each row, 0 to count - 1; a group that loses all its rows starts anew at one of them."""
    centres = features[generator.choice(len(features), count, replace=False)]
    groups = np.zeros(len(features), np.int64)
    for _ in range(ROUNDS):
        distance = (centres**2).sum(axis=1) - 2.0 * features @ centres.T
        groups = np.argmin(distance, axis=1)
        for number in range(count):
            members = features[groups == number]
            centres[number] = members.mean(axis=0) if len(members) else features[generator.integers(len(features))]
    return groups


def sound_classes_of(frames: FloatArray, count: int) -> SoundClasses:
    """Classes of normalised speech frames (T, 82)."""
    features = heard(frames[:, :MEL_BINS], frames[:, VOICING])
    groups = group(features, count, np.random.default_rng(SEED))
    used = [number for number in range(count) if (groups == number).any()]
    if len(used) < count:
        raise ValueError(f"only {len(used)} of {count} classes have frames; more speech is needed")
    mel = np.stack([frames[groups == number, :MEL_BINS].mean(axis=0) for number in used])
    voicing = np.array([frames[groups == number, VOICING].mean() for number in used], np.float32)
    share = (np.bincount(groups, minlength=count) / len(groups)).astype(np.float32)
    variance = (features - heard(mel, voicing)[groups]).var(axis=0).astype(np.float32)
    return SoundClasses(mel, voicing, share, variance)


def main() -> int:
    parser = argparse.ArgumentParser(description="Group the sounds of the synthesizer into classes")
    parser.add_argument("--out", type=Path, default=CLASSES_FILE)
    arguments = parser.parse_args()
    network = Network(Registry(CommonSettings().models_dir))
    synthesizer = Synthesizer(network)
    sentences = islice(grammar_sentences(Random(SEED)), SENTENCE_COUNT)  # noqa: S311
    frames = np.concatenate([synthesizer.plain_frames(sentence, seed) for seed, sentence in enumerate(sentences)])
    frames = frames[frames[:, :MEL_BINS].mean(axis=1) > SILENCE_LEVEL]
    frames[:, :MEL_BINS] *= network.liveliness[:MEL_BINS]
    classes = sound_classes_of(frames, SOUND_COUNT)
    np.savez(arguments.out, mel=classes.mel, voicing=classes.voicing, share=classes.share, variance=classes.variance)
    print(f"{arguments.out}: {SOUND_COUNT} classes of {len(frames)} frames")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
