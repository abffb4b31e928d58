"""Pictures: a number written into the pixels, unseen, and found again by whoever has the key."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.marking.found import MarkFound
from services.common.marking.informed import informed_strengths
from services.common.marking.known import luma_carries
from services.common.marking.search import MarkSearch
from services.common.marking.seen import see
from services.common.marking.shaping import mark_strength
from services.common.marking.spectrum import mark_spectrum, pattern, tile_px

Pixels = NDArray[np.uint8]
ROUNDS: Final = 1  # of looking at the marked picture and marking it better


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
    for _ in range(ROUNDS):
        change = local * pattern(spectrum, waves * strengths, width, height, tile_px(width, height))
        marked = see(np.clip(np.rint(luma + change), 0, 255).astype(np.uint8))
        strengths = informed_strengths(before, marked, spectrum, waves, strengths)
    change = local * pattern(spectrum, waves * strengths, width, height, tile_px(width, height))
    return np.clip(np.rint(pixels + change[:, :, np.newaxis]), 0, 255).astype(np.uint8)


def find_picture_mark(pixels: Pixels, key: bytes) -> MarkFound | None:
    """The mark of a picture, RGB (H, W, 3), which may have been cut, scaled and coded anew; None when none is found.

    Raises:
        ValueError: for other pixels or another key.
    """
    return MarkSearch(see(luma_of(pixels))).find(mark_spectrum(key))


def picture_carries(pixels: Pixels, key: bytes, number: int) -> bool:
    """Whether a picture, RGB (H, W, 3), carries that very number and has kept its size since.

    Far more sensitive than a search, for checking one's own work. False accepts: fewer than 1.6e-8 of all keys.

    Raises:
        ValueError: for other pixels, another key or number.
    """
    luma = luma_of(pixels)
    spectrum = mark_spectrum(key)
    return luma_carries(luma, spectrum, spectrum.waves(number))


def luma_of(pixels: Pixels) -> Pixels:
    """Luma (H, W) of RGB (H, W, 3). Raises ValueError for anything else."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8 pixels of shape (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), np.uint8)
