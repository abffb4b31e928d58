"""Finds faces: BlazeFace over a pyramid of overlapping tiles.

The networks see 128 or 192 pixels whatever the picture's size, so a face in a group photograph vanishes in the whole
picture. Level k therefore cuts the picture into square tiles of 1/2^k of its longer side. Coarse levels find large
faces, fine levels small ones. What it proposes is verified by the mesh network (finder.py).

Models: BlazeFace short range and full range (Bazarevsky et al. 2019, https://arxiv.org/abs/1907.05047).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.litert import FloatArray, LiteRtModel

Picture = NDArray[np.uint8]

MIN_SCORE: Final = 0.5
MIN_OVERLAP: Final = 0.3  # intersection over union from which two detections are one face
MIN_CONTAINED: Final = 0.6  # share of the smaller box inside the larger from which they are one face
TILE_STRIDE: Final = 0.6  # tiles overlap by 40 %
MIN_TILE_PX: Final = 192
MAX_LEVELS: Final = 4  # 1 + 9 + 36 + 144 tiles at most
EYE_RIGHT, EYE_LEFT, NOSE_TIP, MOUTH, EAR_RIGHT, EAR_LEFT = range(6)


@dataclass(frozen=True)
class Detection:
    """A face as the detector sees it; pixels of the picture."""

    left: float
    top: float
    width: float
    height: float
    score: float
    keypoints: FloatArray  # (6, 2): right eye, left eye, nose tip, mouth centre, right ear, left ear of the person

    @property
    def size(self) -> float:
        return max(self.width, self.height)


def ssd_anchors(input_px: int, strides: tuple[tuple[int, int], ...]) -> FloatArray:
    """Anchor centres in [0, 1], shape (n, 2), for (stride, boxes per cell) in the order of the network's output."""
    anchors = []
    for stride, per_cell in strides:
        cells = input_px // stride
        centre = (np.arange(cells) + 0.5) / cells
        x, y = np.meshgrid(centre, centre)
        anchors.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    return np.concatenate(anchors).astype(np.float32)


class BlazeFace:
    """One detector network on one square crop."""

    def __init__(self, model: LiteRtModel) -> None:
        self._model = model
        # The short-range network has an SSD head on two maps, the full-range one CenterNet-like boxes at stride 4.
        strides = ((8, 2), (16, 6)) if model.input_width == 128 else ((4, 1),)
        self._anchors = ssd_anchors(model.input_width, strides)

    def detect(self, picture: Picture, left: int, top: int, side: int) -> list[Detection]:
        """Faces in the square at (left, top); parts outside the picture count as black."""
        height, width = picture.shape[:2]
        px = self._model.input_width
        scale = px / side
        crop = picture[top : min(top + side, height), left : min(left + side, width)]
        canvas = np.zeros((px, px, 3), np.uint8)
        crop_px = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        small = cv2.resize(crop, crop_px, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        canvas[: small.shape[0], : small.shape[1]] = small
        tensor = canvas[:, :, ::-1].astype(np.float32) / 127.5 - 1.0
        raw_boxes, raw_scores = self._model.run(tensor)
        scores = 1.0 / (1.0 + np.exp(-np.clip(raw_scores[:, 0], -80, 80)))
        keep = np.flatnonzero(scores >= MIN_SCORE)
        points = raw_boxes[keep].reshape(-1, 8, 2) / px  # centre, size, six keypoints
        points[:, 0] += self._anchors[keep]
        points[:, 2:] += self._anchors[keep, np.newaxis]
        points *= side
        offset = np.array([left, top], np.float32)
        return [
            Detection(
                left=float(p[0, 0] - p[1, 0] / 2 + left),
                top=float(p[0, 1] - p[1, 1] / 2 + top),
                width=float(p[1, 0]),
                height=float(p[1, 1]),
                score=float(score),
                keypoints=p[2:] + offset,
            )
            for p, score in zip(points, scores[keep], strict=True)
            if p[1].min() > 0
        ]


class FaceDetector:
    """Proposes faces of a picture, coarse to fine.

    Args:
        short_range: BlazeFace of 128 pixels, for faces that fill much of a tile.
        full_range: BlazeFace of 192 pixels, for smaller ones.
    """

    def __init__(self, short_range: LiteRtModel, full_range: LiteRtModel) -> None:
        self._networks = [BlazeFace(short_range), BlazeFace(full_range)]

    def levels(self, picture: Picture) -> Iterator[tuple[int, list[Detection]]]:
        """Yields (tile side in pixels, detections of that level, doubles removed) of a BGR picture (H, W, 3)."""
        height, width = picture.shape[:2]
        longest = max(height, width)
        for level in range(MAX_LEVELS):
            side = longest >> level
            if level and side < MIN_TILE_PX:
                break
            found = [
                detection
                for top in _tile_starts(height, side)
                for left in _tile_starts(width, side)
                for network in self._networks
                for detection in network.detect(picture, left, top, side)
                # A face cut by a tile's inner border is left to the overlapping tile or the coarser level.
                if _whole(detection, left, top, side, width, height)
            ]
            yield side, suppress_doubles(found)


def _tile_starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * TILE_STRIDE))) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _whole(detection: Detection, left: int, top: int, side: int, width: int, height: int) -> bool:
    margin = 0.02 * side
    return (
        (left == 0 or detection.left > left + margin)
        and (top == 0 or detection.top > top + margin)
        and (left + side >= width or detection.left + detection.width < left + side - margin)
        and (top + side >= height or detection.top + detection.height < top + side - margin)
    )


def suppress_doubles(detections: list[Detection]) -> list[Detection]:
    """Non-maximum suppression: of detections that overlap, the surest stays. Largest first."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if not any(same_face(detection, other) for other in kept):
            kept.append(detection)
    return sorted(kept, key=lambda d: -d.size)


def same_face(a: Detection, b: Detection) -> bool:
    overlap_width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    overlap_height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    if overlap_width <= 0 or overlap_height <= 0:
        return False
    shared = overlap_width * overlap_height
    area_a, area_b = a.width * a.height, b.width * b.height
    return shared > MIN_OVERLAP * (area_a + area_b - shared) or shared > MIN_CONTAINED * min(area_a, area_b)


def turn_back(detection: Detection, quarter_turns: int, shape: tuple[int, ...]) -> Detection:
    """From pixels of the picture turned counter-clockwise to those of the picture itself, of shape (height, width)."""
    if quarter_turns == 0:
        return detection
    height, width = shape
    corners = np.array(
        [
            [detection.left, detection.top],
            [detection.left + detection.width, detection.top + detection.height],
        ]
    )
    points = np.concatenate([corners, detection.keypoints])
    x, y = points[:, 0], points[:, 1]
    turned = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarter_turns]
    points = np.stack(turned, axis=1)
    low, high = points[:2].min(axis=0), points[:2].max(axis=0)
    return Detection(
        left=float(low[0]),
        top=float(low[1]),
        width=float(high[0] - low[0]),
        height=float(high[1] - low[1]),
        score=detection.score,
        keypoints=points[2:].astype(np.float32),
    )
