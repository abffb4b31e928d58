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
from services.common.marking.seen import SeenPicture, expected, waves_seen
from services.common.marking.spectrum import TILES, ComplexArray, FloatArray, MarkSpectrum, turned_back

LEAST_TILE: Final = 0.88 / TILES  # of the shorter side: a border may have been added,
LARGEST_TILE: Final = 1.05  # and of a small picture a part may be all there is
LONGEST: Final = 4  # times the shorter side: in what is longer, sizes are not tried as finely as that would need
STEP_WAVES: Final = 0.4  # by which a step of the size moves the mark's middle waves at the picture's end
MIDDLE_WAVES: Final = 20
PLACES: Final = 96  # along a tile's side
PEAKS: Final = 2  # per size
CANDIDATES: Final = 24
LEAST_SCORE: Final = 4.8  # spreads: a mark whose known signs say less cannot be read anyway
REFINED_STEPS: Final = (0.5, 0.25)  # of the step, along both sides and each


@dataclass(frozen=True)
class _Place:
    """Where a mark might lie: tile sides in pixels of the seen picture; the picture's centre, in tiles."""

    score: float
    tile_x: float
    tile_y: float
    x: float
    y: float


class MarkSearch:
    """What a picture holds, ready to be searched with one key or several.

    Attributes:
        highest_score: of all places that the last search looked at, in spreads.
    """

    def __init__(self, seen: SeenPicture) -> None:
        self._residual = seen.residual
        self._tables: dict[tuple[float, float], ComplexArray] = {}
        self._tiles = _tile_sizes(*seen.residual.shape)
        self._tried = len(self._tiles) * PLACES**2
        self.highest_score = 0.0

    def find(self, spectrum: MarkSpectrum) -> MarkFound | None:
        """The number that the picture carries, if a word with the right check sum comes out of a likely place."""
        sync = _Sync(spectrum)
        places = [place for tile in self._tiles for place in sync.peaks(self._seen(spectrum, tile, tile), tile, tile)]
        self.highest_score = sync.highest_score
        places.sort(key=lambda place: -place.score)
        for place in places[:CANDIDATES]:
            settled = self._settled(sync, place)
            number = self._number_at(spectrum, settled)
            if number is not None:
                by_chance = min(1.0, self._tried * np.exp(-(settled.score**2) / 2))
                return MarkFound(number, float(1.0 - CANDIDATES * 2.0**-CHECK_BITS * by_chance))
        return None

    def _seen(self, spectrum: MarkSpectrum, tile_x: float, tile_y: float) -> ComplexArray:
        """Kept for further keys where the tile is one of those that are always tried."""
        kept = self._tables.get((tile_x, tile_y))
        if kept is None:
            kept = waves_seen(self._residual, spectrum.reach, tile_x, tile_y)
            if tile_x == tile_y and tile_x in self._tiles:
                self._tables[tile_x, tile_y] = kept
        return kept

    def _settled(self, sync: _Sync, place: _Place) -> _Place:
        """The best place near that one."""
        step = _step(place.tile_x, max(self._residual.shape))
        for share in REFINED_STEPS:
            for x, y in ((1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1)):
                tile_x = place.tile_x * (1 + x * share * step)
                tile_y = place.tile_y * (1 + y * share * step)
                table = waves_seen(self._residual, sync.spectrum.reach, tile_x, tile_y)
                near = sync.peaks(table, tile_x, tile_y, count=1)
                place = max([place, *near], key=lambda one: one.score)
        return place

    def _number_at(self, spectrum: MarkSpectrum, place: _Place) -> int | None:
        held = expected(spectrum, waves_seen(self._residual, spectrum.reach, place.tile_x, place.tile_y))
        products = (held * spectrum.turns.conj() * turned_back(spectrum, place.x, place.y)).real
        carries = spectrum.sign_of >= 0
        soft = np.bincount(spectrum.sign_of[carries], products[carries], CODE_SIGNS)
        return decode_number(soft.astype(np.float32))


class _Sync:
    """The waves of a key whose signs are known, and where in the picture they would all come together."""

    def __init__(self, spectrum: MarkSpectrum) -> None:
        self.spectrum = spectrum
        known = spectrum.sign_of < 0
        self._y, self._x = spectrum.y[known], spectrum.x[known]
        self._back = spectrum.turns[known].conj()
        self.highest_score = 0.0

    def peaks(self, table: ComplexArray, tile_x: float, tile_y: float, *, count: int = PEAKS) -> list[_Place]:
        """The best places for a table of all waves (see `waves_seen`), of those that score enough."""
        products = table[self._y + self.spectrum.reach, self._x] * self._back
        spread = float(np.sqrt(np.vdot(products, products).real / 2))
        scores = self._all_places(products) / (spread or 1.0)
        peaks: list[_Place] = []
        for _ in range(count):
            row, column = divmod(int(scores.argmax()), PLACES)
            self.highest_score = max(self.highest_score, float(scores[row, column]))
            if scores[row, column] < LEAST_SCORE:
                break
            x, y = _between(scores, row, column)
            peaks.append(_Place(float(scores[row, column]), tile_x, tile_y, x / PLACES, y / PLACES))
            scores[np.ix_(np.arange(row - 3, row + 4) % PLACES, np.arange(column - 3, column + 4) % PLACES)] = 0
        return peaks

    def _all_places(self, products: ComplexArray) -> FloatArray:
        """Re sum of the products turned back, for each place: half an inverse real FFT, which counts waves twice."""
        laid_out = np.zeros((PLACES, PLACES // 2 + 1), np.complex64)
        laid_out[self._y % PLACES, self._x] = products.conj()
        upright = laid_out[:, 0].copy()
        laid_out[:, 0] += np.roll(upright[::-1], 1).conj()  # waves along y alone would be met once, others twice
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
    """Share by which the next size of a tile is larger."""
    return STEP_WAVES * tile / (MIDDLE_WAVES * longer_px / 2)


def _tile_sizes(height_px: int, width_px: int) -> tuple[float, ...]:
    """What is tried, in pixels of the seen picture."""
    shorter = min(width_px, height_px)
    longer = min(max(width_px, height_px), LONGEST * shorter)
    tile, sizes = LEAST_TILE * shorter, []
    while tile < LARGEST_TILE * shorter:
        sizes.append(tile)
        tile *= 1 + _step(tile, longer)
    return tuple(sizes)
