"""Similarity transforms between point sets: least squares, weighted (Umeyama 1991)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating]


@dataclass(frozen=True)
class Similarity:
    """y = scale * rotation @ x + shift, in 2 or 3 dimensions."""

    scale: float
    rotation: Points  # (d, d), determinant +1
    shift: Points  # (d,)

    def apply(self, points: Points) -> Points:
        """Maps points (n, d)."""
        return self.scale * points @ self.rotation.T + self.shift

    def inverse(self) -> Similarity:
        back = self.rotation.T
        return Similarity(1.0 / self.scale, back, -(back @ self.shift) / self.scale)


class SimilarityFit:
    """Fits sources to one target (n, d), as `fit_similarity` does; what the target alone decides is worked out once."""

    def __init__(self, target: Points, weights: Points | None = None) -> None:
        w = np.ones(len(target)) if weights is None else np.asarray(weights, np.float64)
        self._weights = w / w.sum()
        self._mean = self._weights @ target
        self._centred = np.ascontiguousarray(((target - self._mean) * self._weights[:, np.newaxis]).T)

    def fit(self, source: Points) -> Similarity:
        """The similarity that brings `source` (n, d) nearest to the target."""
        source = source.astype(np.float64)
        mean = self._weights @ source
        spread = source - mean
        u, singular, vt = np.linalg.svd(self._centred @ spread)
        sign = np.ones(len(mean))
        sign[-1] = np.sign(np.linalg.det(u @ vt))
        rotation = (u * sign) @ vt
        scale = float(singular @ sign / (self._weights @ (spread * spread)).sum())
        return Similarity(scale, rotation, self._mean - scale * rotation @ mean)


def fit_similarity(source: Points, target: Points, weights: Points | None = None) -> Similarity:
    """The similarity that brings `source` (n, d) nearest to `target` (n, d) in weighted squares."""
    return SimilarityFit(target, weights).fit(source)


def rotation_angle_deg(rotation: Points) -> float:
    """By how many degrees a rotation matrix (3, 3) turns."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))))
