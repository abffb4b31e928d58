"""The 468-point face mesh: from a detection to points in pixels of the picture.

The network wants the face upright in a square crop of 192 pixels. A first crop from the detector's eyes and box, a
second from the points that the first gave: that removes most of the jitter that a loose box causes.

Model: Kartynnik et al. 2019, "Real-time facial surface geometry", https://arxiv.org/abs/1907.06724.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from services.faceswap.detector import EYE_LEFT, EYE_RIGHT, Detection, Picture
from services.faceswap.litert import FloatArray, LiteRtModel

POINTS: Final = 468
CROP_SCALE: Final = 1.5  # side of the crop as a multiple of the face's longer side
RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263


@dataclass(frozen=True)
class Mesh:
    """Points of a face.

    `points` is (468, 3): x and y in pixels of the picture, z in the same unit, smaller is nearer to the viewer.
    `score` is the network's confidence that the crop held a face.
    """

    points: FloatArray
    score: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width, height around the points."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


class FaceMesh:
    """The mesh network.

    Args:
        model: the LiteRT face mesh (192 x 192 RGB in, 468 x 3 and one logit out).
        refinements: further runs, each on a crop taken from the points of the run before.
    """

    def __init__(self, model: LiteRtModel, *, refinements: int = 1) -> None:
        self._model = model
        self._refinements = refinements

    def locate(self, picture: Picture, detection: Detection) -> Mesh:
        """The mesh of a detected face in a BGR picture (H, W, 3)."""
        right, left = detection.keypoints[EYE_RIGHT], detection.keypoints[EYE_LEFT]
        angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
        centre = np.array([detection.left + detection.width / 2, detection.top + detection.height / 2])
        mesh = self._run(picture, centre, angle, CROP_SCALE * detection.size)
        for _ in range(self._refinements):
            mesh = self._run(picture, *_crop_of(mesh.points))
        return mesh

    def _run(self, picture: Picture, centre: FloatArray, angle: float, side: float) -> Mesh:
        px = self._model.input_width
        cosine, sine = float(np.cos(angle)) * side / px, float(np.sin(angle)) * side / px
        # from pixels of the crop to pixels of the picture
        to_picture = np.array(
            [
                [cosine, -sine, centre[0] - (cosine - sine) * px / 2],
                [sine, cosine, centre[1] - (sine + cosine) * px / 2],
            ]
        )
        shrink = side / px
        if shrink > 2:  # bilinear sampling would alias
            picture, to_sampled, _ = _shrunk(picture, to_picture, shrink)
        else:
            to_sampled = to_picture
        crop = cv2.warpAffine(
            picture,
            to_sampled,
            (px, px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        outputs = self._model.run(crop[:, :, ::-1].astype(np.float32) / 255.0)
        raw = next(output for output in outputs if output.size == POINTS * 3).reshape(POINTS, 3)
        logit = float(next(output for output in outputs if output.size == 1).ravel()[0])
        points = np.empty((POINTS, 3), np.float32)
        points[:, :2] = raw[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        points[:, 2] = raw[:, 2] * shrink
        return Mesh(points=points, score=float(1.0 / (1.0 + np.exp(-np.clip(logit, -80, 80)))))


def _shrunk(picture: Picture, to_picture: FloatArray, shrink: float) -> tuple[Picture, FloatArray, float]:
    """The neighbourhood of the crop at about its own resolution, and the transform from the crop into that."""
    height, width = picture.shape[:2]
    px = 192
    corners = np.array([[0, 0, 1], [px, 0, 1], [0, px, 1], [px, px, 1]]) @ to_picture.T
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), low + 1, [width, height])
    part = picture[low[1] : high[1], low[0] : high[0]]
    size = np.maximum(1, np.round((high - low) / shrink)).astype(int)
    ratio = size / (high - low)
    small = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    to_small = to_picture.copy()
    to_small[:, 2] -= low
    to_small *= ratio[:, np.newaxis]
    return small, to_small, float(ratio.mean())


def _crop_of(points: FloatArray) -> tuple[FloatArray, float, float]:
    """Centre, angle and side of the square crop around mesh points."""
    eyes = points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    upright = points[:, :2] @ axes.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = (low + high) / 2 @ axes
    return centre, angle, CROP_SCALE * float((high - low).max())
