"""The shadow that hair throws on a face, taken out of a person's texture.

Along the sides and the top of a face the light of the picture differs most from the middle: hair darkens and tints the
skin. Carried to another head, such a shadow is a grey ring. So there, and only there, slow changes of brightness below
the mean and of tint are taken off, in logarithms, so that detail keeps its contrast.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from services.faceswap.chart import SIDE, chart
from services.faceswap.litert import FloatArray

DARK: Final = 6.0  # of 255, added before the logarithm: noise in black is no colour
MOST: Final = 0.7  # natural logarithm: what differs by more from the mean is no matter of light
SCALE: Final = 6.0  # texels of the chart: what changes more slowly is light
PRIOR: Final = 0.02  # share of the mean where little is known nearby
LUMINANCE: Final = np.array([0.114, 0.587, 0.299], np.float32)  # of B, G, R
SIDES_FROM, SIDES_RAMP = 0.3, 0.2  # in the template's frame, from the midline
TOP_FROM, TOP_RAMP = 0.2, 0.1  # above the line of the eyes


def without_shadow(colour: FloatArray, trust: FloatArray) -> FloatArray:
    """A texture (n, n, 3) of 0 to 255 without shadow and tint along its sides and top.

    Args:
        trust: (n, n), 0 to 1, how much of each texel was seen.
    """
    side = colour.shape[0]
    small = cv2.resize(colour, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    weight = cv2.resize(trust, (SIDE, SIDE), interpolation=cv2.INTER_AREA) * _skin()
    if float(weight.sum()) < 20.0:  # of 9216: hardly anything is seen
        return colour
    logs = np.log(small + np.float32(DARK))
    mean = weight.ravel() @ logs.reshape(-1, 3) / weight.sum()
    away = np.clip(logs - mean, -MOST, MOST)
    packed = np.dstack([away * weight[:, :, np.newaxis], weight])
    packed = cv2.GaussianBlur(packed, (0, 0), SCALE, borderType=cv2.BORDER_CONSTANT)
    slow = packed[:, :, :3] / (packed[:, :, 3:] + PRIOR)
    brightness = (slow @ LUMINANCE)[:, :, np.newaxis]
    off = _zone() * (slow - brightness + np.minimum(brightness, 0.0))
    factors = cv2.resize(np.exp(-off).astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    lit: FloatArray = np.clip((colour + DARK) * factors - DARK, 0.0, 255.0).astype(np.float32)
    return lit


@lru_cache(maxsize=1)
def _zone() -> FloatArray:
    """Sides and top (SIDE, SIDE, 1), 0 to 1."""
    x, y, _ = np.moveaxis(chart().head, 2, 0)
    sides, top = (np.abs(x) - SIDES_FROM) / SIDES_RAMP, (-TOP_FROM - y) / TOP_RAMP
    zone: FloatArray = np.clip(np.maximum(sides, top), 0.0, 1.0).astype(np.float32)
    return zone[:, :, np.newaxis]


@lru_cache(maxsize=1)
def _skin() -> FloatArray:
    """Where light can be read from a face (SIDE, SIDE): inside, and not on brows, eyes, lips or nostrils."""
    fixed = chart()
    features = np.max([fixed.brows, fixed.eyes, fixed.lips, fixed.nostrils], axis=0)
    skin: FloatArray = (fixed.inside * (1.0 - features)).astype(np.float32)
    return skin
