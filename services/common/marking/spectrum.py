"""Of what waves a picture's mark consists: a key's choice of phases and places, a number's signs.

A mark is a luma pattern that repeats itself in squares (tiles). A tile holds whole numbers of waves along both sides;
each wave carries either a sign that only the key decides (by these a mark is found, and where it lies) or one of the
signs of the number's code word. Who has not the key knows neither phases nor places.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.marking.mark_code import CODE_SIGNS, encode_number

FloatArray = NDArray[np.float32]
ComplexArray = NDArray[np.complex64]
IntArray = NDArray[np.int32]
MIN_WAVES: Final = 12.0  # per tile: below, pictures themselves are too strong,
MAX_WAVES: Final = 28.0  # above, coding takes them away
SYNC_SHARE: Final = 0.2  # of the waves, whose signs are known
TILES: Final = 4  # on the shorter side of a picture
FULL_TILE_PX: Final = 128  # least side of a tile, where the picture is not smaller itself
KEY_BYTES: Final = 32


@dataclass(frozen=True, eq=False)
class MarkSpectrum:
    """A key's waves.

    Attributes:
        x, y: waves per tile along the sides, (n,); x >= 0, y of either sign.
        turns: keyed unit numbers, (n,): phase of each wave.
        sign_of: which sign of the code word a wave carries, (n,); -1 where it is one that is known.
    """

    x: IntArray
    y: IntArray
    turns: ComplexArray
    sign_of: IntArray

    def waves(self, number: int) -> ComplexArray:
        """What each wave is multiplied with for that number, (n,), all of length 1."""
        signs = np.concatenate([encode_number(number), np.ones(1, np.float32)])
        return np.asarray(self.turns * signs[self.sign_of], np.complex64)

    @property
    def groups(self) -> IntArray:
        """As `sign_of`, with the known signs as one more at the end, (n,)."""
        return np.where(self.sign_of < 0, CODE_SIGNS, self.sign_of)

    @property
    def reach(self) -> int:
        """The largest number of waves along one side."""
        return int(MAX_WAVES)

    def dense(self, waves: ComplexArray) -> ComplexArray:
        """Laid out as (2 reach + 1, reach + 1): y from -reach, x from 0; nothing where there is no wave."""
        table = np.zeros((2 * self.reach + 1, self.reach + 1), np.complex64)
        table[self.y + self.reach, self.x] = waves
        return table


@lru_cache(maxsize=8)
def mark_spectrum(key: bytes) -> MarkSpectrum:
    """The waves of a key.

    Raises:
        ValueError: for a key that is not 32 bytes long.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a mark's key has {KEY_BYTES} bytes, got {len(key)}")
    reach = int(MAX_WAVES)
    y, x = np.mgrid[-reach : reach + 1, 0 : reach + 1]
    length = np.hypot(x, y)
    chosen = (length >= MIN_WAVES) & (length <= MAX_WAVES) & ((x > 0) | (y > 0))
    x, y = x[chosen], y[chosen]
    draws = np.frombuffer(hashlib.shake_256(b"likeness picture mark 1" + key).digest(8 * x.size), "<u4").reshape(2, -1)
    order = np.argsort(draws[0], kind="stable")
    sync = round(SYNC_SHARE * x.size)
    sign_of = np.empty(x.size, np.int32)
    sign_of[order[:sync]] = -1
    sign_of[order[sync:]] = np.arange(x.size - sync) % CODE_SIGNS
    turns = np.exp(2j * np.pi * draws[1] / 2.0**32)
    return MarkSpectrum(x.astype(np.int32), y.astype(np.int32), turns.astype(np.complex64), sign_of)


def tile_px(width_px: int, height_px: int) -> float:
    """Side of a tile in a picture of that size: it grows with the picture, so that a smaller copy keeps the mark."""
    shorter = min(width_px, height_px)
    return float(max(shorter / TILES, min(shorter, FULL_TILE_PX)))


def rolling(tile: float, length_px: int, waves: IntArray, start: float = 0.0) -> ComplexArray:
    """exp(2 pi i k (p + 0.5 - start) / tile) for pixels p and each k of `waves`: (length_px, len(waves))."""
    places = (np.arange(length_px) + 0.5 - start) / tile
    return np.asarray(np.exp(2j * np.pi * places[:, np.newaxis] * waves), np.complex64)


def turned_back(spectrum: MarkSpectrum, x: float, y: float) -> ComplexArray:
    """What turns phases that count from that place, in tiles, into those that count from a tile's corner, (n,)."""
    return np.asarray(np.exp(-2j * np.pi * (spectrum.x * x + spectrum.y * y)), np.complex64)


def pattern(spectrum: MarkSpectrum, waves: ComplexArray, width_px: int, height_px: int, tile: float) -> FloatArray:
    """The mark's pattern (height_px, width_px), seen from the top left corner; of mean square 1 if the waves are."""
    reach = spectrum.reach
    across = rolling(tile, width_px, np.arange(reach + 1, dtype=np.int32))
    down = rolling(tile, height_px, np.arange(-reach, reach + 1, dtype=np.int32))
    rows = spectrum.dense(waves) @ across.T
    joined = np.concatenate([down.real, -down.imag], axis=1) @ np.concatenate([rows.real, rows.imag])
    return np.asarray(joined * np.sqrt(2.0 / len(waves)), np.float32)
