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


def fit_similarity(source: Points, target: Points, weights: Points | None = None) -> Similarity:
    """The similarity that brings `source` (n, d) nearest to `target` (n, d) in weighted squares."""
    w = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    w = w / w.sum()
    mean_source, mean_target = w @ source, w @ target
    a, b = source - mean_source, target - mean_target
    u, singular, vt = np.linalg.svd(b.T @ (a * w[:, np.newaxis]))
    sign = np.ones(source.shape[1])
    sign[-1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign) @ vt
    scale = float(singular @ sign / (w @ (a * a).sum(axis=1)))
    return Similarity(scale, rotation, mean_target - scale * rotation @ mean_source)


def rotation_angle_deg(rotation: Points) -> float:
    """By how many degrees a rotation matrix (3, 3) turns."""
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1.0, 1.0))))
