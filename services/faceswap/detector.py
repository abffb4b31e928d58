"""Finds faces: BlazeFace over a pyramid of overlapping tiles.

The networks see 128 or 192 pixels whatever the picture's size, so a face in a group photograph vanishes in the whole
picture. Level k therefore cuts the picture into square tiles of 1/2^k of its longer side. Coarse levels find large
faces, fine levels small ones. The networks know upright faces, up to about 45 degrees aslant, so each level can be
looked at in quarter turns. What is proposed is verified by the mesh network (finder.py).

Models: BlazeFace short range and full range (Bazarevsky et al. 2019, https://arxiv.org/abs/1907.05047).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.litert import FloatArray, LiteRtModel

Picture = NDArray[np.uint8]

MIN_SCORE: Final = 0.4  # in pictures; what is proposed in vain costs a run of the mesh network
MIN_FAST_SCORE: Final = 0.5  # in frames
MIN_OVERLAP: Final = 0.3  # intersection over union from which two detections are one face
MIN_CONTAINED: Final = 0.6  # share of the smaller box inside the larger from which they are one face
TILE_STRIDE: Final = 0.6  # tiles overlap by 40 %: small faces are seen twice, at different places of a tile
MIN_TILE_PX: Final = 256  # smaller tiles would show faces too small to be of use
MAX_LEVELS: Final = 5
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
    """One detector network on one square tile."""

    def __init__(self, model: LiteRtModel) -> None:
        self._model = model
        self.input_px = model.input_width
        # The short-range network has an SSD head on two maps, the full-range one CenterNet-like boxes at stride 4.
        strides = ((8, 2), (16, 6)) if model.input_width == 128 else ((4, 1),)
        self._anchors = ssd_anchors(model.input_width, strides)

    def detect(self, tile: Picture, min_score: float = MIN_SCORE) -> tuple[FloatArray, FloatArray]:
        """Faces of a tile (h, w, 3) of at most the network's own size; what is missing of it counts as black.

        Returns:
            (n, 8, 2) in pixels of the tile: centre, width and height, six keypoints; and their scores (n,).
        """
        px = self.input_px
        tensor = np.full((px, px, 3), -1.0, np.float32)
        tensor[: tile.shape[0], : tile.shape[1]] = tile[:, :, ::-1] * np.float32(1 / 127.5) - np.float32(1.0)
        raw_boxes, raw_scores = self._model.run(tensor)
        scores = 1.0 / (1.0 + np.exp(-np.clip(raw_scores[:, 0], -80, 80)))
        keep = np.flatnonzero(scores >= min_score)
        points = raw_boxes[keep].reshape(-1, 8, 2)  # relative to the anchors
        points[:, 0] += self._anchors[keep] * px
        points[:, 2:] += self._anchors[keep, np.newaxis] * px
        sound = points[:, 1].min(axis=1) > 0
        return points[sound], scores[keep][sound]


class FaceDetector:
    """Proposes faces of a picture, coarse to fine.

    Args:
        short_range: BlazeFace of 128 pixels, for faces that fill much of a tile.
        full_range: BlazeFace of 192 pixels, for smaller ones.
    """

    def __init__(self, short_range: LiteRtModel, full_range: LiteRtModel) -> None:
        self._short, self._full = BlazeFace(short_range), BlazeFace(full_range)

    def tile_sides(self, picture: Picture) -> list[int]:
        """The levels: sides of their tiles in pixels, coarse to fine."""
        longest = max(picture.shape[:2])
        sides = [longest >> level for level in range(MAX_LEVELS)]
        return [side for level, side in enumerate(sides) if level == 0 or side >= MIN_TILE_PX]

    def level(self, picture: Picture, side: int, quarter_turns: int = 0) -> list[Detection]:
        """Faces of about 0.07 to 0.9 of a tile's side in a BGR picture (H, W, 3), doubles removed, largest first.

        Args:
            side: of the tiles, in pixels; one of `tile_sides`.
            quarter_turns: looks for faces that stand upright once the picture is turned so often counter-clockwise.
        """
        networks = [self._full, self._short] if side == max(picture.shape[:2]) else [self._full]
        found = [face for network in networks for face in self._at_scale(network, picture, side, quarter_turns)]
        return suppress_doubles(found)

    def coarse(self, picture: Picture, part: int | None = None) -> Callable[[], list[Detection]]:
        """One run of the full-range network, for faces of at least a tenth of the picture's longer side.

        With `part`, the run looks at one of the overlapping tiles of half that side instead: whoever counts `part` up
        from frame to frame has looked for faces of half the size everywhere after a few frames.

        Returns:
            What runs the network, once, in any thread; the picture may change meanwhile.
        """
        longest = max(picture.shape[:2])
        side = longest if part is None or longest // 2 < MIN_TILE_PX else longest // 2
        upright = shrunk(picture, self._full.input_px / side)
        upright = upright.copy() if upright is picture else upright
        shape = picture.shape
        return lambda: suppress_doubles(self._in_tiles(self._full, upright, shape, part, min_score=MIN_FAST_SCORE))

    def _at_scale(self, network: BlazeFace, picture: Picture, side: int, turns: int) -> list[Detection]:
        return self._in_tiles(network, shrunk(picture, network.input_px / side), picture.shape, turns=turns)

    def _in_tiles(
        self,
        network: BlazeFace,
        upright: Picture,
        shape: tuple[int, ...],
        part: int | None = None,
        *,
        turns: int = 0,
        min_score: float = MIN_SCORE,
    ) -> list[Detection]:
        """Faces in the overlapping squares that cover a picture of `shape`, shrunk to `upright`, or in one of them."""
        px = network.input_px
        small = np.rot90(upright, turns)
        to_picture = np.array([shape[1] / upright.shape[1], shape[0] / upright.shape[0]], np.float32)
        tiles = [(left, top) for top in _tile_starts(small.shape[0], px) for left in _tile_starts(small.shape[1], px)]
        if part is not None:
            tiles = [tiles[part % len(tiles)]]
        found = []
        for left, top in tiles:
            boxes, scores = network.detect(small[top : top + px, left : left + px], min_score)
            # A face cut by a tile's inner border is left to the overlapping tile or the coarser level.
            whole = _whole(boxes, left, top, px, small.shape)
            boxes[:, [0, *range(2, 8)]] += np.array([left, top], np.float32)
            for box, score in zip(boxes[whole], scores[whole], strict=True):
                found.append(_detection(turn_back(box, turns, upright.shape) * to_picture, score))
        return found


def shrunk(picture: Picture, scale: float) -> Picture:
    """The picture at `scale`: halved by averaging as often as it goes, the rest by linear interpolation.

    Five times as fast as averaging over areas that are not whole pixels.
    """
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    while picture.shape[0] >= 2 * height and picture.shape[1] >= 2 * width:
        half = (max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2))
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _detection(box: FloatArray, score: float) -> Detection:
    """From centre, size and keypoints (8, 2)."""
    (left, top), (width, height) = box[0] - box[1] / 2, box[1]
    return Detection(float(left), float(top), float(width), float(height), float(score), box[2:])


def _tile_starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = int(np.ceil((length - side) / (side * TILE_STRIDE))) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]


def _whole(boxes: FloatArray, left: int, top: int, side: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which of the boxes (n, 8, 2) of a tile are not cut by its border, where that is not the picture's."""
    margin = 0.02 * side
    low, high = boxes[:, 0] - boxes[:, 1] / 2, boxes[:, 0] + boxes[:, 1] / 2
    inner_low = np.array([left > 0, top > 0])
    inner_high = np.array([left + side < shape[1], top + side < shape[0]])
    cut = (inner_low & (low <= margin)) | (inner_high & (high >= side - margin))
    return np.asarray(~cut.any(axis=1))


def suppress_doubles(detections: list[Detection]) -> list[Detection]:
    """Non-maximum suppression: of detections that overlap, the surest stays. Largest first."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if not any(same_face(detection, other) for other in kept):
            kept.append(detection)
    return sorted(kept, key=lambda d: -d.width * d.height)


def same_face(a: Detection, b: Detection) -> bool:
    overlap_width = min(a.left + a.width, b.left + b.width) - max(a.left, b.left)
    overlap_height = min(a.top + a.height, b.top + b.height) - max(a.top, b.top)
    if overlap_width <= 0 or overlap_height <= 0:
        return False
    shared = overlap_width * overlap_height
    area_a, area_b = a.width * a.height, b.width * b.height
    return shared > MIN_OVERLAP * (area_a + area_b - shared) or shared > MIN_CONTAINED * min(area_a, area_b)


def turn_back(box: FloatArray, quarter_turns: int, shape: tuple[int, ...]) -> FloatArray:
    """Centre, size and keypoints (8, 2) in pixels of a picture turned counter-clockwise -> of the picture itself.

    Args:
        shape: height and width of the picture itself.
    """
    height, width = shape[:2]
    x, y = box[:, 0], box[:, 1]
    turned = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarter_turns]
    points = np.stack(turned, axis=1)
    points[1] = box[1, ::-1] if quarter_turns % 2 else box[1]
    return np.asarray(points, np.float32)
