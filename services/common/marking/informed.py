"""How strong each sign of a mark should be in a picture that is known: more where the picture itself speaks against it.

The picture is the loudest noise that a search meets, and whoever writes the mark knows it. A sign that the picture
happens to support gets less, one that it speaks against gets more, and all together stay as strong as before
(compare improved spread spectrum, Malvar and Florencio 2003, which takes the picture's part out of every sign).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.common.marking.known import products_seen, real_sums
from services.common.marking.seen import SeenPicture
from services.common.marking.spectrum import ComplexArray, FloatArray, MarkSpectrum

LEAST: Final = 0.4  # of the usual strength: a part of the picture may support a sign less than all of it
MOST: Final = 2.2
LEAST_SYNC: Final = 0.8  # of the signs that are known, without which nothing is found,
SYNC_SPREADS: Final = 9.0  # and what they should come to
HALVINGS: Final = 30


def informed_strengths(
    before: SeenPicture, marked: SeenPicture, spectrum: MarkSpectrum, waves: ComplexArray, strengths: FloatArray
) -> FloatArray:
    """Strengths of the waves (n,), of mean square 1, with which the signs come out about equally clear.

    Args:
        before: the picture without the mark.
        marked: the same, marked with the waves at those strengths, of mean square 1.
    """
    own = products_seen(before, spectrum, waves)
    both = products_seen(marked, spectrum, waves)
    gain = float(np.sum((both - own).real) / np.sum(strengths))
    if gain <= 0:  # nothing of the mark is seen, as in a picture that is black all over
        return strengths
    groups = spectrum.groups
    sums, counts = real_sums(both, spectrum)
    written = np.bincount(groups, strengths).astype(np.float32) * gain
    against = (sums - written) / (counts * gain)  # in units of a usual mark

    known = both[spectrum.sign_of < 0]
    needed = SYNC_SPREADS * np.sqrt(float(np.sum(np.abs(known) ** 2)) / 2) / (counts[-1] * gain) - against[-1]
    sync = float(np.clip(needed, LEAST_SYNC, MOST))

    def with_level(level: float) -> FloatArray:
        by_group = np.clip(level - against, LEAST, MOST)
        by_group[-1] = sync
        return np.asarray(by_group[groups], np.float32)

    low, high = float(against.min()) + LEAST, float(against.max()) + MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(with_level(middle) ** 2) < 1 else (low, middle)
    strengths = with_level(low)
    return np.asarray(strengths / np.sqrt(np.mean(strengths**2)), np.float32)
