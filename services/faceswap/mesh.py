"""The 468-point face mesh: from a detection to points in pixels of the picture.

The network wants the face upright in a square crop of 192 pixels. The first crop comes from the detector's eyes and
box, the next from the points that it gave: what the network answers depends on the crop, and this settles it. The last
crop is also read in its mirror image and the two answers averaged, which halves what is left of the error on turned
heads, where the network is weakest.

Model: Kartynnik et al. 2019, "Real-time facial surface geometry", https://arxiv.org/abs/1907.06724.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.aside import aside
from services.faceswap.detector import EYE_LEFT, EYE_RIGHT, Detection, Picture
from services.faceswap.litert import FloatArray, LiteRtModel
from services.faceswap.template import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, template

POINTS: Final = 468
CROP_SCALE: Final = 1.5  # side of the crop as a multiple of the face's longer side
MAX_DRIFT: Final = 0.06  # of the crop's side: a face that was found further off its middle is looked at again
HOPELESS_SCORE: Final = 0.01  # below, the crop holds no face and looking again is in vain


@dataclass(frozen=True)
class Mesh:
    """Points of a face.

    `points` is (468, 3): x and y in pixels of the picture, z in the same unit, smaller is nearer to the viewer.
    `score` is the network's confidence that the crop held a face.
    """

    points: FloatArray
    score: float

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width, height around the points."""
        low, high = self.points[:, :2].min(axis=0), self.points[:, :2].max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


class FaceMesh:
    """The mesh network.

    Args:
        model: the LiteRT face mesh (192 x 192 RGB in, 468 x 3 and one logit out).
        refinements: further runs, each on a crop taken from the points of the run before.
        average_mirrored: whether the last run also reads the crop's mirror image.
    """

    def __init__(self, model: LiteRtModel, *, refinements: int = 2, average_mirrored: bool = True) -> None:
        self._model = model
        self._refinements = refinements
        self._average_mirrored = average_mirrored

    def locate(self, picture: Picture, detection: Detection) -> Mesh:
        """The mesh of a detected face in a BGR picture (H, W, 3)."""
        right, left = detection.keypoints[EYE_RIGHT], detection.keypoints[EYE_LEFT]
        angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
        centre = np.array([detection.left + detection.width / 2, detection.top + detection.height / 2])
        return self._settled(picture, centre, angle, CROP_SCALE * detection.size)

    def follow(self, picture: Picture, points: FloatArray, *, mirrored: bool = False) -> Mesh:
        """The mesh of a face that was at `points` (468, 3) in the frame before: one run, two where it moved far.

        Args:
            mirrored: whether to read the crop's mirror image, too, which takes twice as long and is a little surer.
        """
        crop = _crop_of(points)
        found, score = self._run(picture, *crop, mirrored=mirrored)
        again = _crop_of(found)
        if score >= HOPELESS_SCORE and np.linalg.norm(again[0] - crop[0]) > MAX_DRIFT * crop[2]:
            found, score = self._run(picture, *again, mirrored=mirrored)
        return Mesh(found, score)

    def turned(self, picture: Picture, mesh: Mesh, radians: float) -> Mesh:
        """What the crop around a mesh holds when it is turned clockwise: a face that was read upside down is found."""
        centre, angle, side = _crop_of(mesh.points)
        return self._settled(picture, centre, angle + radians, side)

    def _settled(self, picture: Picture, centre: FloatArray, angle: float, side: float) -> Mesh:
        """Reads a crop, and then again and again the crop around what was found in the one before."""
        points, score = self._run(picture, centre, angle, side)
        for round_ in range(self._refinements):
            if score < HOPELESS_SCORE:
                break
            mirrored = self._average_mirrored and round_ == self._refinements - 1
            points, score = self._run(picture, *_crop_of(points), mirrored=mirrored)
        return Mesh(points, score)

    def _run(
        self, picture: Picture, centre: FloatArray, angle: float, side: float, *, mirrored: bool = False
    ) -> tuple[FloatArray, float]:
        px = self._model.input_width
        cosine, sine = float(np.cos(angle)) * side / px, float(np.sin(angle)) * side / px
        # from pixels of the crop to pixels of the picture
        to_picture = np.array(
            [
                [cosine, -sine, centre[0] - (cosine - sine) * px / 2],
                [sine, cosine, centre[1] - (sine + cosine) * px / 2],
            ]
        )
        sampled, to_sampled = (
            (picture, to_picture) if side < 2 * px else _shrunk(picture, to_picture, int(side / px), px)
        )
        crop = cv2.warpAffine(
            sampled,
            to_sampled,
            (px, px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
        mirror = aside(self._infer, _tensor(cv2.flip(rgb, 1))) if mirrored else None
        tensor = _tensor(rgb)
        raw, logit = self._infer(tensor)
        if mirror is not None:
            other, other_logit = mirror.result()
            other = other[template().mirror]
            other[:, 0] = px - 1.0 - other[:, 0]
            raw = ((raw + other) / 2).astype(np.float32)
            logit = (logit + other_logit) / 2
        points = np.empty((POINTS, 3), np.float32)
        points[:, :2] = raw[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        points[:, 2] = raw[:, 2] * (side / px)
        return points, float(1.0 / (1.0 + np.exp(-np.clip(logit, -80, 80))))

    def _infer(self, tensor: FloatArray) -> tuple[FloatArray, float]:
        """Points in pixels of the crop (468, 3), and the logit of there being a face."""
        outputs = self._model.run(tensor)
        points = next(output for output in outputs if output.size == POINTS * 3).reshape(POINTS, 3)
        return points, float(next(output for output in outputs if output.size == 1).ravel()[0])


def _tensor(rgb: NDArray[Any]) -> FloatArray:
    """Bytes as numbers from 0 to 1."""
    return np.asarray(np.multiply(rgb, np.float32(1.0 / 255.0), dtype=np.float32))


def _shrunk(picture: Picture, to_picture: FloatArray, shrink: int, px: int) -> tuple[Picture, FloatArray]:
    """The crop's neighbourhood, a whole number of times smaller, because bilinear sampling of a large face would alias.

    Also returns the transform from pixels of the crop into that neighbourhood.
    """
    height, width = picture.shape[:2]
    corners = np.array([[0, 0, 1], [px, 0, 1], [0, px, 1], [px, px, 1]]) @ to_picture.T
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, [width - 1, height - 1])
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), low + 1, [width, height])
    size = np.maximum(1, (high - low) // shrink)
    high = np.minimum(high, low + size * shrink)
    small = cv2.resize(
        picture[low[1] : high[1], low[0] : high[0]], (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA
    )
    to_small = to_picture.copy()
    to_small[:, 2] -= low
    scale = size / (high - low)
    to_small *= scale[:, np.newaxis]
    to_small[:, 2] += (scale - 1.0) / 2.0  # centres of pixels, not their corners, are whole numbers
    return np.asarray(small, np.uint8), to_small


def _crop_of(points: FloatArray) -> tuple[FloatArray, float, float]:
    """Centre, angle and side of the square crop around mesh points."""
    eyes = points[LEFT_EYE_OUTER, :2] - points[RIGHT_EYE_OUTER, :2]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    upright = points[:, :2] @ axes.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = (low + high) / 2 @ axes
    return centre, angle, CROP_SCALE * float((high - low).max())
