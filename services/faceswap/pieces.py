"""Faces cut out of a frame with what is around them, so that nobody has to touch the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.faceswap.canvas import Canvas
from services.faceswap.detector import Detection, Picture
from services.faceswap.litert import FloatArray
from services.faceswap.mesh import Mesh

# Of the mesh, in pairs between which a detector's keypoints lie: eyes, nose, mouth, ears.
_KEYPOINTS: Final = np.array([[33, 133], [263, 362], [1, 1], [13, 14], [234, 234], [454, 454]])
SURROUNDINGS: Final = 0.55  # of a face's longer side, on each side of its box


@dataclass(frozen=True, eq=False)
class Piece:
    """A rectangle that was cut out of a frame around a face."""

    left: int
    top: int
    picture: Picture

    def inside(self, points: FloatArray) -> FloatArray:
        """Points of the frame as points of the piece."""
        return (points - np.array([self.left, self.top, 0], np.float32)).astype(np.float32)

    def outside(self, points: FloatArray) -> FloatArray:
        """Points of the piece as points of the frame."""
        return (points + np.array([self.left, self.top, 0], np.float32)).astype(np.float32)

    def holds(self, points: FloatArray, canvas: Canvas) -> bool:
        """Whether it has room enough around points of the frame, as far as the frame goes."""
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        room = 0.8 * SURROUNDINGS * float((high - low).max())
        first = np.array([self.left, self.top])
        last = first + [self.picture.shape[1], self.picture.shape[0]]
        frame = np.array([canvas.width, canvas.height])
        begins = ((low - room >= first) | (first == 0)).all()
        return bool(begins and ((high + room <= last) | (last >= frame)).all())


def cut_around(canvas: Canvas, points: FloatArray) -> Piece:
    """A face at `points` of the frame, with its surroundings as far as the frame goes."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    margin = SURROUNDINGS * float((high - low).max())
    left, top = (int(np.clip(v, 0, n - 2)) for v, n in zip(low - margin, (canvas.width, canvas.height), strict=True))
    right = int(np.clip(high[0] + margin + 1, left + 2, canvas.width))
    bottom = int(np.clip(high[1] + margin + 1, top + 2, canvas.height))
    left, top = left - left % 2, top - top % 2  # colour is stored for squares of 2 x 2 pixels
    right, bottom = min(right + right % 2, canvas.width), min(bottom + bottom % 2, canvas.height)
    return Piece(left, top, canvas.cut(left, top, right - left, bottom - top))


def detection_of(mesh: Mesh) -> Detection:
    """What a detector would have said of a mesh."""
    points = mesh.points[:, :2]
    keypoints = (points[_KEYPOINTS[:, 0]] + points[_KEYPOINTS[:, 1]]) / 2
    return Detection(*mesh.box, mesh.score, keypoints.astype(np.float32))
