"""Which places of the face are what: soft masks on the chart's layout, 256 x 256 texels, worked out once."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from services.faceswap.chart import SIDE as CHART_SIDE
from services.faceswap.chart import chart
from services.faceswap.face_engine import FACE_REGIONS, FaceRegion
from services.faceswap.litert import FloatArray
from services.faceswap.template import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    template,
)

SIDE: Final = 256  # texels
NOSE: Final = (168, 193, 245, 198, 129, 98, 97, 2, 326, 327, 358, 420, 465, 417)  # around bridge, sides, wings, base
# Widths in texels; the face is SIDE wide.
EYE_ROOM, EYE_SOFT = 0.0, 0.8  # around the lids' edge, when one pair of eyes is open and the other is not
EYE_INSET, EYE_INSET_SOFT = 2.0, 0.8  # within it, when they are alike: lids and lashes come from the source
LID_ROOM, LID_SOFT = 12.0, 4.0  # what goes with an eye when it is replaced or kept as a region
BROW_ROOM, BROW_SOFT = 4.0, 4.0
LIP_ROOM, LIP_SOFT = 3.0, 4.0
KEPT_ROOM, KEPT_SOFT = 9.0, 6.0  # around lips that stay the target's
MOUTH_SOFT: Final = 1.5
NOSE_SOFT: Final = 5.0
# Where hair may lie, in the template's frame: above the brows, and at the sides.
FOREHEAD_FROM, FOREHEAD_RAMP = 0.14, 0.06
SIDE_FROM, SIDE_RAMP = 0.48, 0.12
FADE_SHARE: Final = 0.75  # of the way from the top of the mesh to the brows


def texels(side: int) -> FloatArray:
    """Where the mesh's points (468, 2) lie on a square of `side` texels; whole numbers are centres."""
    at: FloatArray = ((chart().at + 0.5) * (side / CHART_SIDE) - 0.5).astype(np.float32)
    return at


def _drawn(rings: tuple[tuple[int, ...], ...], room: float, soft: float, *, hull: bool = False) -> FloatArray:
    """1 within `room` texels of the rings' insides, softened by a Gaussian of `soft`."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for ring in rings:
        outline = np.round(texels(SIDE)[list(ring)] * 16).astype(np.int32)
        cv2.fillPoly(mask, [cv2.convexHull(outline) if hull else outline], 255, cv2.LINE_AA, shift=4)
    if room:
        side = 2 * round(abs(room)) + 1
        change = cv2.dilate if room > 0 else cv2.erode
        mask = np.asarray(change(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))), np.uint8)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), soft), np.float32)


@lru_cache(maxsize=17)
def eye_openings(unlike_16ths: int) -> FloatArray:
    """Between the lids: with their edge when the two pairs of eyes are unlike (16), without when they are alike (0)."""
    share = np.float32(unlike_16ths / 16.0)
    wide = _drawn((RIGHT_EYE, LEFT_EYE), EYE_ROOM, EYE_SOFT)
    return wide * share + _drawn((RIGHT_EYE, LEFT_EYE), -EYE_INSET, EYE_INSET_SOFT) * (1 - share)


@lru_cache(maxsize=1)
def mouth_opening_zone() -> FloatArray:
    """Between the lips."""
    return _drawn((INNER_LIPS,), 0.0, MOUTH_SOFT)


@lru_cache(maxsize=1)
def lips() -> FloatArray:
    return _drawn((OUTER_LIPS,), LIP_ROOM, LIP_SOFT)


@lru_cache(maxsize=1)
def around_lips() -> FloatArray:
    """The lips with the folds and the stubble around them, which go where a laughing mouth goes."""
    return _drawn((OUTER_LIPS,), KEPT_ROOM, KEPT_SOFT)


@lru_cache(maxsize=1)
def brows() -> FloatArray:
    return _drawn((RIGHT_BROW, LEFT_BROW), BROW_ROOM, BROW_SOFT, hull=True)


@lru_cache(maxsize=1)
def features() -> FloatArray:
    """What is not of the colour of skin on any face: brows, eyes, lips, nostrils."""
    fixed = chart()
    small = np.max([fixed.brows, fixed.eyes, fixed.lips, fixed.nostrils], axis=0)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=1)
def hair_zone() -> FloatArray:
    """Forehead and sides without the brows: where what is not of the skin's colour is hair, or a thing."""
    head = cv2.resize(chart().head, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    forehead = np.clip((-FOREHEAD_FROM - head[:, :, 1]) / FOREHEAD_RAMP, 0.0, 1.0)
    sides = np.clip((np.abs(head[:, :, 0]) - SIDE_FROM) / SIDE_RAMP, 0.0, 1.0)
    zone: FloatArray = (np.maximum(forehead, sides) * (1.0 - brows())).astype(np.float32)
    return zone


@lru_cache(maxsize=32)
def region_mask(regions: frozenset[FaceRegion]) -> FloatArray:
    """Share of every texel that belongs to the named regions; all five together are 1 everywhere."""
    if regions == frozenset(FACE_REGIONS):
        return np.ones((SIDE, SIDE), np.float32)
    parts: dict[FaceRegion, FloatArray] = {
        "mouth": lips(),
        "nose": _drawn((NOSE,), 2.0, NOSE_SOFT, hull=True),
        "eyes": _drawn((RIGHT_EYE, LEFT_EYE), LID_ROOM, LID_SOFT),
        "brows": brows(),
    }
    left = np.ones((SIDE, SIDE), np.float32)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for name, part in parts.items():
        mask += left * part * (name in regions)
        left = left * (1.0 - part)
    return mask + left * ("skin" in regions)


@lru_cache(maxsize=256)
def replaced(regions: frozenset[FaceRegion], lips_kept_16ths: int, eyes_unlike_16ths: int) -> FloatArray:
    """Share of the source at every texel (SIDE, SIDE): the look's regions, less the eyes' and the mouth's inside.

    Args:
        lips_kept_16ths: how much of the lips stays the target's, 0 to 16.
        eyes_unlike_16ths: how much one pair of eyes is open and the other closed, 0 to 16.
    """
    kept = around_lips() * (lips_kept_16ths / 16.0)
    mask = region_mask(regions) * (1.0 - eye_openings(eyes_unlike_16ths)) * (1.0 - mouth_opening_zone()) * (1.0 - kept)
    return np.ascontiguousarray(mask * forehead_fade(), np.float32)


@lru_cache(maxsize=1)
def forehead_fade() -> FloatArray:
    """0 at the upper end of the mesh, 1 from the brows on: there is no edge on a forehead."""
    head = np.asarray(cv2.resize(chart().head, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)
    top = float(head[:, :, 1].min())
    share = np.clip((head[:, :, 1] - top) / (FADE_SHARE * (-FOREHEAD_FROM - top)), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


@lru_cache(maxsize=1)
def covered() -> FloatArray:
    """Where the mesh is at all, 0 or 1."""
    at = texels(SIDE)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for triangle in template().triangles:
        cv2.fillConvexPoly(mask, np.round(at[triangle] * 16).astype(np.int32), 1, shift=4)
    return mask.astype(np.float32)
