"""Finds a mark without knowing how a picture was cut or scaled: sizes of the tile are tried, places come out of an FFT.

How sure a find is follows from the key alone. For whoever has not the key its phases are uniform, so a sum of waves
turned back by them is below z times its spread with a probability of at least 1 - exp(-z^2 / 2), whatever the picture
shows (E exp(a cos u) <= exp(a^2 / 4) for a uniform angle u).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.common.marking.found import MarkFound
from services.common.marking.mark_code import CHECK_BITS, CODE_SIGNS, decode_number
from services.common.marking.seen import Plane, SeenPicture, expected, see, waves_seen
from services.common.marking.spectrum import TILES, ComplexArray, FloatArray, MarkSpectrum, tile_px

LEAST_TILE: Final = 0.88 / TILES  # of the shorter side: a border may have been added,
LARGEST_TILE: Final = 1.05  # and of a small picture a part may be all there is
STEP_WAVES: Final = 0.4  # by which a step of the size moves the mark's middle waves at the picture's end
MIDDLE_WAVES: Final = 20
PLACES: Final = 96  # along a tile's side
PEAKS: Final = 2  # per size
CANDIDATES: Final = 24
AGREEMENT: Final = 6.0  # spreads: reached by chance with a probability below exp(-18) = 1.6e-8
REFINED_STEPS: Final = (0.5, 0.25)  # of the step, along both sides and each


@dataclass(frozen=True)
class _Place:
    """Where a mark might lie: tile sides in pixels of the seen picture; the picture's centre, in tiles."""

    score: float
    tile_x: float
    tile_y: float
    x: float
    y: float


def find_mark(seen: SeenPicture, spectrum: MarkSpectrum) -> MarkFound | None:
    """The number that the picture carries, if a word with the right check sum comes out of a likely place."""
    search = _Search(seen, spectrum)
    places = search.likely_places()
    for place in places:
        settled = search.settled(place)
        number = search.number_at(settled)
        if number is not None:
            chance = len(places) * 2.0**-CHECK_BITS * min(1.0, search.tried * np.exp(-(settled.score**2) / 2))
            return MarkFound(number, float(1.0 - chance))
    return None


def agreement(seen: SeenPicture, spectrum: MarkSpectrum, waves: ComplexArray, tile_px: float) -> float:
    """How well the picture agrees with a known number's waves where it was neither cut nor scaled since, in spreads.

    Above z by chance with a probability of at most exp(-z^2 / 2).
    """
    height, width = seen.residual.shape
    shrink_x, shrink_y = seen.shrink
    held = expected(spectrum, waves_seen(seen.residual, spectrum.reach, tile_px / shrink_x, tile_px / shrink_y))
    x, y = width * shrink_x / 2 / tile_px, height * shrink_y / 2 / tile_px
    return _spreads(held * waves.conj() * _turned(spectrum, x, y))


def luma_carries(luma: Plane, spectrum: MarkSpectrum, waves: ComplexArray) -> bool:
    """Whether luma (H, W) of an uncut, unscaled picture shows a known number's waves beyond chance."""
    height, width = luma.shape
    return agreement(see(luma), spectrum, waves, tile_px(width, height)) >= AGREEMENT


def _turned(spectrum: MarkSpectrum, x: float, y: float) -> ComplexArray:
    return np.asarray(np.exp(-2j * np.pi * (spectrum.x * x + spectrum.y * y)), np.complex64)


def _spreads(products: ComplexArray) -> float:
    spread = np.sqrt(float(np.sum(np.abs(products) ** 2)) / 2)
    return float(np.sum(products.real)) / spread if spread > 0 else 0.0


class _Search:
    def __init__(self, seen: SeenPicture, spectrum: MarkSpectrum) -> None:
        self._residual, self._spectrum = seen.residual, spectrum
        self._sync = spectrum.sign_of < 0
        self._rows, self._columns = spectrum.y[self._sync] % PLACES, spectrum.x[self._sync]
        self._turns = spectrum.turns[self._sync]
        self._steps = _tile_steps(*seen.residual.shape)
        self.tried = len(self._steps) * PLACES**2

    def likely_places(self) -> list[_Place]:
        """The best ones of all sizes, best first."""
        places = [place for tile, _ in self._steps for place in self._peaks(tile, tile, PEAKS)]
        return sorted(places, key=lambda place: -place.score)[:CANDIDATES]

    def settled(self, place: _Place) -> _Place:
        """The best place near that one."""
        step = _step(place.tile_x, max(self._residual.shape))
        for share in REFINED_STEPS:
            for x, y in ((1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
                tile_x = place.tile_x * (1 + x * share * step)
                tile_y = place.tile_y * (1 + y * share * step)
                place = max(place, *self._peaks(tile_x, tile_y, 1, near=place), key=lambda one: one.score)
        return place

    def number_at(self, place: _Place) -> int | None:
        spectrum = self._spectrum
        held = expected(spectrum, waves_seen(self._residual, spectrum.reach, place.tile_x, place.tile_y))
        products = held * spectrum.turns.conj() * _turned(spectrum, place.x, place.y)
        carries = ~self._sync
        soft = np.bincount(spectrum.sign_of[carries], products.real[carries], CODE_SIGNS)
        return decode_number(soft.astype(np.float32))

    def _peaks(self, tile_x: float, tile_y: float, count: int, near: _Place | None = None) -> list[_Place]:
        spectrum = self._spectrum
        table = waves_seen(self._residual, spectrum.reach, tile_x, tile_y)
        products = expected(spectrum, table)[self._sync] * self._turns.conj()
        spread = np.sqrt(float(np.sum(np.abs(products) ** 2)) / 2)
        if spread == 0:
            return []
        laid_out = np.zeros((PLACES, PLACES // 2 + 1), np.complex64)
        laid_out[self._rows, self._columns] = products.conj()
        scores = _all_places(laid_out) / spread
        peaks = []
        for _ in range(count):
            row, column = divmod(int(np.argmax(scores)), PLACES)
            x, y = _between(scores, row, column)
            peaks.append(_Place(float(scores[row, column]), tile_x, tile_y, x / PLACES, y / PLACES))
            scores[np.ix_(np.arange(row - 3, row + 4) % PLACES, np.arange(column - 3, column + 4) % PLACES)] = 0
        return peaks


def _all_places(laid_out: ComplexArray) -> FloatArray:
    """Re sum of products turned back, for each place: half of an inverse real FFT, which counts a wave twice."""
    laid_out = laid_out.copy()
    single = laid_out[:, 0].copy()
    laid_out[:, 0] += np.roll(single[::-1], 1).conj()  # waves along y alone are met once, others twice
    return np.asarray(np.fft.irfft2(laid_out, (PLACES, PLACES), norm="forward") / 2, np.float32)


def _between(scores: FloatArray, row: int, column: int) -> tuple[float, float]:
    """The peak of a parabola through three values, along x and y."""

    def shift(before: float, here: float, after: float) -> float:
        bend = 2 * here - before - after
        return 0.0 if bend <= 0 else float(np.clip(0.5 * (after - before) / bend, -0.5, 0.5))

    here = float(scores[row, column])
    x = shift(float(scores[row, column - 1]), here, float(scores[row, (column + 1) % PLACES]))
    y = shift(float(scores[row - 1, column]), here, float(scores[(row + 1) % PLACES, column]))
    return column + x, row + y


def _step(tile: float, longer_px: int) -> float:
    return STEP_WAVES * tile / (MIDDLE_WAVES * longer_px / 2)


def _tile_steps(height_px: int, width_px: int) -> list[tuple[float, float]]:
    """Sizes of a tile, in pixels of the seen picture, and the share by which the next is larger."""
    shorter, longer = min(width_px, height_px), max(width_px, height_px)
    tile, steps = LEAST_TILE * shorter, []
    while tile < LARGEST_TILE * shorter:
        step = _step(tile, longer)
        steps.append((tile, step))
        tile *= 1 + step
    return steps
