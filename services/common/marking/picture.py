"""Pictures: a number written into the pixels, unseen, and found again by whoever has the key."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.marking.found import MarkFound
from services.common.marking.informed import informed_strengths
from services.common.marking.known import agreement, luma_carries
from services.common.marking.search import MarkSearch
from services.common.marking.seen import SeenPicture, see
from services.common.marking.shaping import mark_strength
from services.common.marking.spectrum import FloatArray, mark_spectrum, pattern, tile_px

Pixels = NDArray[np.uint8]
ENOUGH: Final = 12.0  # spreads of agreement, of which coding takes some
BOOSTS: Final = (1.0, 1.3, 1.6, 2.0)  # of the strength, where a picture is so busy or so small that it needs more


def mark_picture(pixels: Pixels, key: bytes, number: int) -> Pixels:
    """The same picture with a mark, RGB (H, W, 3).

    Args:
        key: 32 bytes.
        number: 1 to 2^32 - 1.

    Raises:
        ValueError: for other pixels, another key or number.
    """
    luma = luma_of(pixels)
    height, width = luma.shape
    spectrum = mark_spectrum(key)
    waves, before = spectrum.waves(number), see(luma)
    local = cv2.resize(mark_strength(luma), (width, height), interpolation=cv2.INTER_LINEAR)
    strengths = np.ones(len(waves), np.float32)

    def marked(boost: float) -> tuple[FloatArray, SeenPicture]:
        change = local * boost * pattern(spectrum, waves * strengths, width, height, tile_px(width, height))
        return np.asarray(change, np.float32), see(_added(luma, change))

    for boost in BOOSTS:
        strengths = informed_strengths(before, marked(boost)[1], spectrum, waves, strengths)
        change, seen = marked(boost)
        if agreement(seen, spectrum, waves) >= ENOUGH:
            break
    return _added(pixels, change[:, :, np.newaxis])


def _added(pixels: Pixels, change: FloatArray) -> Pixels:
    return np.asarray(np.clip(pixels + np.rint(change), 0, 255), np.uint8)


def find_picture_mark(pixels: Pixels, key: bytes) -> MarkFound | None:
    """The mark of a picture, RGB (H, W, 3), which may have been cut, scaled and coded anew; None when none is found.

    Raises:
        ValueError: for other pixels or another key.
    """
    return MarkSearch(see(luma_of(pixels))).find(mark_spectrum(key))


def picture_carries(pixels: Pixels, key: bytes, number: int) -> bool:
    """Whether a picture, RGB (H, W, 3), carries that very number and has kept its size since.

    Far more sensitive than a search, for checking one's own work. False accepts: below 2.7e-7, whatever the picture
    shows (see search.py).

    Raises:
        ValueError: for other pixels, another key or number.
    """
    luma = luma_of(pixels)
    spectrum = mark_spectrum(key)
    return luma_carries(luma, spectrum, spectrum.waves(number), number)


def luma_of(pixels: Pixels) -> Pixels:
    """Luma (H, W) of RGB (H, W, 3). Raises ValueError for anything else."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels of shape (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), np.uint8)
