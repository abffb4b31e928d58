"""How far each place of a face is from the face's own skin, under the face's own light.

On the chart (`chart.py`) a smooth brightness over the head, a tint, and the way in which the tint follows brightness
(shadows on skin are redder; where red is clipped, much redder) are fitted by iteratively reweighted least squares to
the texels that may be skin, starting from the tint on which most places of likely skin agree.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numba
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import SIDE, chart
from services.faceswap.detector import Picture
from services.faceswap.litert import FloatArray

Sums = NDArray[np.float64]

ROUNDS: Final = 4  # of the robust fit
THIN: Final = 6  # the same for the first look at tints
EVERY: Final = 3  # texels, in both directions, of which one is fitted to
DARK: Final = 8.0  # of 255, added before the logarithm: noise in black is no colour
# Natural logarithms of lightness, red against green, blue against green.
LEAST_SPREAD: Final = np.array([0.08, 0.035, 0.05], np.float32)  # of skin around its fit
MOST_SPREAD: Final = np.array([0.16, 0.05, 0.075], np.float32)
TINT_BY_LIGHT: Final = np.array([-0.12, 0.18], np.float32)  # how tints follow lightness, where a face does not tell
SLOPES: Final = np.array([[-0.7, 0.1], [-0.1, 1.2]], np.float32)  # what is possible
SHADOW, GLOSS = 0.9, 0.35  # by how much skin may be darker or brighter than the smooth light on it
PATCHES: Final = (
    (50, 1), (205, 1), (280, 1), (425, 1), (118, 1), (347, 1), (199, 1), (151, 1), (108, 1), (337, 1),
    (187, 1), (411, 1), (4, 2), (197, 2), (195, 2), (9, 2), (8, 2), (51, 1), (281, 1),
)  # fmt: skip
# Points on likely skin, and their votes: in the middle a face is covered least often.


def logarithms(texels: Picture) -> FloatArray:
    """Lightness, red against green, blue against green, in natural logarithms (SIDE, SIDE, 3)."""
    out = np.empty((SIDE, SIDE, 3), np.float32)
    _logarithms(np.ascontiguousarray(texels), _log_table(), out)
    return out


def skin_distance(colour: FloatArray, visible: NDArray[np.bool_]) -> FloatArray:
    """How far each texel (SIDE, SIDE) is from this face's skin, in spreads; 0 everywhere where too little is seen.

    Args:
        colour: from `logarithms`.
        visible: (SIDE, SIDE), which texels the picture shows.
    """
    distance = np.zeros((SIDE, SIDE), np.float32)
    counted = visible & (feature_zones() < 0.05)
    best = _agreed(colour, counted)
    if best is None or int(counted.sum()) < 100:
        return distance
    terms: Sums = np.zeros(4)
    tint: Sums = np.zeros((2, 2))
    spread: Sums = MOST_SPREAD.astype(np.float64)
    for round_ in range(ROUNDS):
        sums = np.zeros(40)
        _gather(colour, counted, slopes(), best, terms, tint, spread, round_ == 0, sums)
        if sums[0] < 8.0:
            return distance
        terms, tint, spread = _solved(sums)
    _distances(colour, slopes(), terms, tint, spread, distance)
    return distance


@numba.njit(cache=True, nogil=True)
def _logarithms(texels: Picture, table: FloatArray, out: FloatArray) -> None:
    for y in range(texels.shape[0]):
        for x in range(texels.shape[1]):
            b, g, r = table[texels[y, x, 0]], table[texels[y, x, 1]], table[texels[y, x, 2]]
            out[y, x, 0] = (b + g + r) * np.float32(1 / 3)
            out[y, x, 1] = r - g
            out[y, x, 2] = b - g


@lru_cache(maxsize=1)
def _log_table() -> FloatArray:
    table: FloatArray = np.log(np.arange(256, dtype=np.float32) + np.float32(DARK))
    return table


@lru_cache(maxsize=1)
def slopes() -> FloatArray:
    """Smooth light over a head (SIDE, SIDE, 4): even, and along three axes."""
    x, y, z = np.moveaxis(chart().normals, 2, 0)
    basis: FloatArray = np.stack([np.ones_like(x), x, y, z + 0.7], axis=2).astype(np.float32)
    return np.ascontiguousarray(basis)


@lru_cache(maxsize=1)
def feature_zones() -> FloatArray:
    """Where a face is not of the colour of skin (SIDE, SIDE): brows, eyes, lips, nostrils."""
    fixed = chart()
    zones: FloatArray = np.max([fixed.brows, fixed.eyes, fixed.lips, fixed.nostrils], axis=0).astype(np.float32)
    return zones


@lru_cache(maxsize=1)
def _patches() -> tuple[NDArray[np.intp], NDArray[np.intp], FloatArray]:
    at = np.round(chart().at[[point for point, _ in PATCHES]]).astype(np.intp)
    return at[:, 1], at[:, 0], np.array([votes for _, votes in PATCHES], np.float32)


def _agreed(colour: FloatArray, counted: NDArray[np.bool_]) -> FloatArray | None:
    """The tint (2,), at no lightness, on which most patches of likely skin and most of the face agree."""
    rows, columns, votes = _patches()
    valid = counted[rows, columns]
    if not valid.any():
        return None
    rows, columns, votes = rows[valid], columns[valid], votes[valid]
    around = [colour[rows + dy, columns + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    mean = np.mean(around, axis=0)
    tints = mean[:, 1:] - TINT_BY_LIGHT * mean[:, :1]
    some = colour[::THIN, ::THIN][counted[::THIN, ::THIN]]
    even = some[:, 1:] - TINT_BY_LIGHT * some[:, :1]
    support = _alike(tints, even).mean(axis=1) + (_alike(tints, tints) * votes).sum(axis=1) / votes.sum()
    best: FloatArray = tints[support.argmax()].astype(np.float32)
    return best


def _alike(tints: FloatArray, others: FloatArray) -> FloatArray:
    """How alike tints (n, 2) and (m, 2) are (n, m), 0 to 1."""
    away = (tints[:, np.newaxis] - others) / (2.0 * MOST_SPREAD[1:])
    alike: FloatArray = np.exp(-0.5 * (away * away).sum(axis=2))
    return alike


@numba.njit(cache=True, nogil=True)
def _offset(lightness: float, level: float) -> float:
    return min(max(lightness - level, -0.8), 0.5)


@numba.njit(cache=True, nogil=True)
def _gather(
    colour: FloatArray,
    counted: NDArray[np.bool_],
    basis: FloatArray,
    best: FloatArray,
    terms: Sums,
    tint: Sums,
    spread: Sums,
    first: bool,
    sums: Sums,
) -> None:
    """Weighted sums over the texels: weight, the normal equations of brightness (4 x 4 + 4), tints by brightness."""
    for y in range(0, colour.shape[0], EVERY):
        for x in range(0, colour.shape[1], EVERY):
            if not counted[y, x]:
                continue
            light = colour[y, x, 0]
            fit = 0.0
            for k in range(4):
                fit += basis[y, x, k] * terms[k]
            if first:
                p = (colour[y, x, 1] - TINT_BY_LIGHT[0] * light - best[0]) / (2.5 * MOST_SPREAD[1])
                q = (colour[y, x, 2] - TINT_BY_LIGHT[1] * light - best[1]) / (2.5 * MOST_SPREAD[2])
                weight = np.exp(-0.5 * (p * p + q * q))
            else:
                offset = _offset(light, terms[0])
                a = (light - fit) / spread[0]
                p = (colour[y, x, 1] - tint[0, 0] - tint[0, 1] * offset) / spread[1]
                q = (colour[y, x, 2] - tint[1, 0] - tint[1, 1] * offset) / spread[2]
                weight = 1.0 / (1.0 + (a * a + p * p + q * q) / 4.0) ** 2
                if weight > 0.3:
                    sums[33] += 1.0
                    sums[34] += abs(light - fit)
                    sums[35] += abs(p) * spread[1]
                    sums[36] += abs(q) * spread[2]
            sums[0] += weight
            n = 1
            for i in range(4):
                for k in range(4):
                    sums[n] += weight * basis[y, x, i] * basis[y, x, k]
                    n += 1
                sums[21 + i] += weight * basis[y, x, i] * light
            offset = _offset(light, terms[0]) if not first else light
            sums[25] += weight * offset
            sums[26] += weight * offset * offset
            for c in range(2):
                sums[27 + 2 * c] += weight * colour[y, x, 1 + c]
                sums[28 + 2 * c] += weight * offset * colour[y, x, 1 + c]


def _solved(sums: Sums) -> tuple[Sums, Sums, Sums]:
    """Terms of brightness (4,), offset and slope of both tints (2, 2), spreads (3,)."""
    total = sums[0]
    normal = sums[1:17].reshape(4, 4) + 0.03 * total * np.diag([0.0, 1.0, 1.0, 1.0])
    terms: Sums = np.linalg.solve(normal, sums[21:25]).astype(np.float64)
    mean = sums[25] / total
    variance = max(sums[26] / total - mean * mean, 0.0)
    tint = np.zeros((2, 2))
    shift = mean if sums[33] > 0 else mean - terms[0]  # in the first round offsets are whole lightnesses
    for c in (0, 1):
        middle = sums[27 + 2 * c] / total
        both = sums[28 + 2 * c] / total - mean * middle
        slope = float(np.clip((both + 0.01 * TINT_BY_LIGHT[c]) / (variance + 0.01), SLOPES[c, 0], SLOPES[c, 1]))
        tint[c] = middle - slope * shift, slope
    if sums[33] < 15:
        return terms, tint, MOST_SPREAD.astype(np.float64)
    # 1.25 times the mean deviation of a normal distribution is its standard deviation
    spread: Sums = np.clip(1.25 * sums[34:37] / sums[33], LEAST_SPREAD, MOST_SPREAD)
    return terms, tint, spread


@numba.njit(cache=True, nogil=True)
def _distances(colour: FloatArray, basis: FloatArray, terms: Sums, tint: Sums, spread: Sums, out: FloatArray) -> None:
    for y in range(colour.shape[0]):
        for x in range(colour.shape[1]):
            light = colour[y, x, 0]
            away = light
            for k in range(4):
                away -= basis[y, x, k] * terms[k]
            offset = _offset(light, terms[0])
            beyond = (max(away - GLOSS, 0.0) + max(-SHADOW - away, 0.0)) / spread[0]
            doubt = 1.0 + min(abs(away), 1.0)  # tints of shadows and gloss vary more
            p = (colour[y, x, 1] - tint[0, 0] - tint[0, 1] * offset) / (spread[1] * doubt)
            q = (colour[y, x, 2] - tint[1, 0] - tint[1, 1] * offset) / (spread[2] * doubt)
            out[y, x] = np.sqrt(beyond * beyond + p * p + q * q)


@numba.njit(cache=True, nogil=True)
def smooth_difference(
    residual: FloatArray, counted: NDArray[np.bool_], basis: FloatArray, spread: FloatArray, rounds: int
) -> FloatArray:
    """The part of a difference of two faces that is light: (6,), four terms of brightness and two even tints.

    Args:
        residual: (SIDE, SIDE, 3), the difference, in logarithms.
        counted: (SIDE, SIDE), where both show the face.
        spread: (3,), by how much a face differs from itself.
    """
    terms = np.zeros(6)
    for round_ in range(rounds):
        normal, right = np.zeros((4, 4)), np.zeros(4)
        total, first, second = 1e-9, 0.0, 0.0
        wide = 4.0 if round_ == 0 else 2.0
        for y in range(0, residual.shape[0], EVERY):
            for x in range(0, residual.shape[1], EVERY):
                if not counted[y, x]:
                    continue
                a = residual[y, x, 0]
                for k in range(4):
                    a -= basis[y, x, k] * terms[k]
                a /= wide * spread[0]
                p = (residual[y, x, 1] - terms[4]) / (wide * spread[1])
                q = (residual[y, x, 2] - terms[5]) / (wide * spread[2])
                weight = 1.0 / (1.0 + a * a + p * p + q * q) ** 2
                total += weight
                first += weight * residual[y, x, 1]
                second += weight * residual[y, x, 2]
                for i in range(4):
                    right[i] += weight * basis[y, x, i] * residual[y, x, 0]
                    for k in range(4):
                        normal[i, k] += weight * basis[y, x, i] * basis[y, x, k]
        for i in range(1, 4):
            normal[i, i] += 0.02 * total
        normal[0, 0] += 1e-6
        terms[:4] = np.linalg.solve(normal, right)
        terms[4], terms[5] = first / total, second / total
    return terms.astype(np.float32)
