"""Whether a face's eyes are open, read from the pixels: the mesh network draws lids much the same in either case.

Across an open eye white, iris and white follow each other; a closed one is the same all along, a dark line of lashes
between bright lids. So the spread of the columns' means is compared with the spread of the rows' means.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from services.faceswap.detector import Picture
from services.faceswap.geometry import Points
from services.faceswap.template import LEFT_EYE, RIGHT_EYE

PATCH_WIDTH, PATCH_HEIGHT = 32, 16  # pixels, from corner to corner
CLOSED_RATIO, OPEN_RATIO = 0.35, 0.6  # seen: 0.2 to 0.3 in closed eyes, 0.6 to 2.3 in open ones


def eyes_open(picture: Picture, points: Points) -> float:
    """0 (closed) to 1 (open), of the eye that is turned more towards the viewer.

    Args:
        picture: BGR (H, W, 3).
        points: mesh (468, 3) in pixels of the picture.
    """
    rings = [points[list(ring), :2] for ring in (RIGHT_EYE, LEFT_EYE)]
    nearer = max(rings, key=lambda ring: float(np.linalg.norm(ring[8] - ring[0])))
    patch = _patch(picture, nearer)[4:12, 3:29]  # without the corners and what lies beyond the lids
    columns = patch.mean(axis=0)
    lines = _lines(len(columns))
    across = float((columns - (columns @ lines) @ lines.T).std())
    down = float(patch.mean(axis=1).std())
    return float(np.clip((across / max(down, 1.0) - CLOSED_RATIO) / (OPEN_RATIO - CLOSED_RATIO), 0.0, 1.0))


@lru_cache(maxsize=1)
def _lines(count: int) -> Points:
    """Two columns (count, 2), orthonormal, of which every straight line over so many places is made."""
    basis: Points = np.linalg.qr(np.stack([np.ones(count), np.arange(count)], axis=1))[0]
    return basis


def _patch(picture: Picture, ring: Points) -> Points:
    """Lightness (16, 32), 0 to 100, of an eye turned level; corner to corner fills the width."""
    first, second = sorted((ring[0], ring[8]), key=lambda corner: float(corner[0]))
    step = (second - first) / PATCH_WIDTH
    centre = ring.mean(axis=0)
    across, down = step, np.array([-step[1], step[0]])
    start = centre - across * PATCH_WIDTH / 2 - down * PATCH_HEIGHT / 2
    to_picture = np.column_stack([across, down, start])
    patch = cv2.warpAffine(
        picture,
        to_picture,
        (PATCH_WIDTH, PATCH_HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    lightness: Points = cv2.cvtColor(patch, cv2.COLOR_BGR2LAB)[:, :, 0].astype(np.float64) * (100.0 / 255.0)
    return lightness
