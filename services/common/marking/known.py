"""Whether a picture carries a number that is known beforehand, where it was neither cut nor scaled since it was marked.

Far more sensitive than a search: there is one place and one word to look at. For checking one's own work.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from services.common.marking.mark_code import CODE_SIGNS, decode_number, encode_number
from services.common.marking.seen import Plane, SeenPicture, expected, see, waves_seen
from services.common.marking.spectrum import ComplexArray, FloatArray, MarkSpectrum, tile_px, turned_back

AGREEMENT: Final = 5.5  # spreads: reached by chance with a probability below exp(-15.1) = 2.7e-7, see search.py


def luma_carries(luma: Plane, spectrum: MarkSpectrum, waves: ComplexArray, number: int) -> bool:
    """Whether luma (H, W) shows the number's waves beyond chance, and no other number's."""
    return carries(see(luma), spectrum, waves, number)


def carries(seen: SeenPicture, spectrum: MarkSpectrum, waves: ComplexArray, number: int) -> bool:
    """The same of what was made ready.

    Numbers of one key share the known signs and about half of the others. So where a number can be read, it decides.
    """
    products = products_seen(seen, spectrum, waves)
    if _spreads(products) < AGREEMENT:
        return False
    sums, _ = real_sums(products, spectrum)
    return decode_number(sums[:CODE_SIGNS] * encode_number(number)) in (number, None)


def agreement(seen: SeenPicture, spectrum: MarkSpectrum, waves: ComplexArray) -> float:
    """How well the picture agrees with a number's waves, in spreads; above z with a chance of at most exp(-z^2 / 2)."""
    return _spreads(products_seen(seen, spectrum, waves))


def _spreads(products: ComplexArray) -> float:
    spread = np.sqrt(float(np.sum(np.abs(products) ** 2)) / 2)
    return float(np.sum(products.real)) / spread if spread > 0 else 0.0


def products_seen(seen: SeenPicture, spectrum: MarkSpectrum, waves: ComplexArray) -> ComplexArray:
    """What the picture holds of each wave (n,), turned so that the mark's own share is real and positive."""
    height, width = seen.residual.shape
    shrink_x, shrink_y = seen.shrink
    width_px, height_px = width * shrink_x, height * shrink_y
    tile = tile_px(round(width_px), round(height_px))
    held = expected(spectrum, waves_seen(seen.residual, spectrum.reach, tile / shrink_x, tile / shrink_y))
    back = turned_back(spectrum, width_px / 2 / tile, height_px / 2 / tile)
    return np.asarray(held * waves.conj() * back, np.complex64)


def real_sums(products: ComplexArray, spectrum: MarkSpectrum) -> tuple[FloatArray, FloatArray]:
    """Sums of the products' real parts for each sign of the code, and last for the known ones; how many each has."""
    sums, counts = np.bincount(spectrum.groups, products.real), np.bincount(spectrum.groups)
    return sums.astype(np.float32), counts.astype(np.float32)
