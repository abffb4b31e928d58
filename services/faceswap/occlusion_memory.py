"""What lies before a face in a film: what does not look as the same place of the face did before.

The face is remembered on its chart (`chart.py`), texel by texel, as it looked when nothing lay before it. Each frame is
brought to the remembered light by a smooth fit; where it then still differs by much, in a connected area with a sharp
border that enters from outside, something lies before the face, though it be a hand of the same colour. Eyes and mouth
move by themselves and are left out. What is hidden is not learned; what was learned wrongly, such as a hand that was
there from the start, is known by the border being sharp in the memory and not in the frame, and is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.faceswap.chart import SIDE, chart
from services.faceswap.face_engine import Memory
from services.faceswap.litert import FloatArray
from services.faceswap.skin_model import slopes, smooth_difference

KEY: Final = "occlusion"
ROUNDS: Final = 3  # of the fit of light
LEARNED: Final = 4.0  # frames after which a texel is known well enough to judge by
SLOWEST: Final = 0.06  # share of a new frame in the memory, once the face is known
FORGETTING: Final = 0.4  # the same where the memory was wrong
LEAST_SPREAD: Final = np.array([0.07, 0.025, 0.035], np.float32)  # natural logarithms; of a face in good light
SLIP: Final = 0.7  # texels by which the mesh may err: where the face has edges, so much of them is no surprise
CLEARLY, ALIKE, STILL = 4.5, 2.8, 2.2  # spreads: seeds, what is counted with them, and where it was hidden before
LEAST_AREA: Final = 0.01  # of the face's visible texels
LEAST_STEP: Final = 0.6  # a border in the frame that was not in the memory: by so many widest spreads
SHARPER: Final = 1.25  # than the memory, the frame at the border of something that lies before the face
CHANGED: Final = 0.65  # of the visible texels: then it is another light or another face, and all is learned anew


@dataclass(eq=False)
class Remembered:
    """Colours as logarithms (SIDE, SIDE, 3), their spread (SIDE, SIDE), frames seen and whether hidden (SIDE, SIDE)."""

    colour: FloatArray
    spread: FloatArray
    seen: FloatArray
    hidden: NDArray[np.bool_]


def hidden_by_memory(
    colour: FloatArray,
    visible: NDArray[np.bool_],
    suspect: NDArray[np.bool_],
    steps: FloatArray,
    widest: FloatArray,
    memory: Memory,
) -> NDArray[np.bool_]:
    """Which texels something hides (SIDE, SIDE), and learns from the others.

    Args:
        colour: logarithms of lightness and two tints (SIDE, SIDE, 3).
        visible: which texels this pose shows.
        suspect: what was found by colour alone; it is not learned.
        steps: by how much the colour changes around each texel, in widest spreads.
        widest: (3,), spread of any skin around its fit.
    """
    known: Remembered | None = memory.values.get(KEY)
    if known is None:
        seen = (visible & ~suspect).astype(np.float32)
        spread = np.ones((SIDE, SIDE), np.float32)
        memory.values[KEY] = Remembered(colour.copy(), spread, seen, suspect.copy())
        return suspect
    usable = visible & (known.seen > 0.5)
    judged = visible & (known.seen >= LEARNED) & (moving_zones() < 0.5)
    residual = colour - known.colour
    counted = usable & ~known.hidden & ~suspect & (moving_zones() < 0.5)
    terms = smooth_difference(residual, counted, slopes(), LEAST_SPREAD, ROUNDS)
    residual[:, :, 0] -= slopes() @ terms[:4]
    residual[:, :, 1:] -= terms[4:]
    found, wrong = np.zeros((SIDE, SIDE), np.bool_), np.zeros((SIDE, SIDE), np.bool_)
    if int(judged.sum()) > 200:
        distance = _distance(residual, known)
        found, wrong = _components(distance, judged, visible, known, steps, widest)
        if found.sum() > CHANGED * visible.sum():
            del memory.values[KEY]
            return suspect
    hidden = found | suspect
    _learn(known, residual, visible, hidden, wrong)
    return hidden


def _distance(residual: FloatArray, known: Remembered) -> FloatArray:
    """The difference from the memory in spreads; more is allowed where the face has edges."""
    dx, dy = (cv2.Sobel(known.colour[:, :, 0], cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1)))
    edges = cv2.blur(cv2.magnitude(dx, dy), (3, 3))
    allowed = known.spread * LEAST_SPREAD[0] + SLIP * edges
    scaled = cv2.blur(residual, (3, 3)) / np.maximum((allowed / LEAST_SPREAD[0])[:, :, np.newaxis] * LEAST_SPREAD, 1e-4)
    distance: FloatArray = np.sqrt((scaled * scaled).sum(axis=2))
    return distance


def _components(
    distance: FloatArray,
    judged: NDArray[np.bool_],
    visible: NDArray[np.bool_],
    known: Remembered,
    steps: FloatArray,
    widest: FloatArray,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is hidden, and where instead the memory is wrong."""
    found, wrong = np.zeros((SIDE, SIDE), np.bool_), np.zeros((SIDE, SIDE), np.bool_)
    alike = judged & (distance > np.where(known.hidden, STILL, ALIKE))
    if not (judged & (distance > CLEARLY)).any():
        return found, wrong
    # Small gaps, such as where the colours happen to agree, do not part an object.
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, _disc(2)).astype(np.bool_) & judged
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8), None, 4)
    least = LEAST_AREA * float(visible.sum())
    outside = cv2.dilate((~_head(visible)).astype(np.uint8), _disc(3), borderValue=1).astype(np.bool_)
    before = steps_of(known.colour, widest)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < least:
            continue
        part = labels == label
        if (part & (distance > CLEARLY)).sum() < 0.25 * part.sum():
            continue
        entered = bool((part & outside).any()) or (part & known.hidden).sum() > 0.3 * part.sum()
        mask = part.astype(np.uint8)
        edge = (cv2.dilate(mask, _disc(1)) > 0) & (cv2.erode(mask, _disc(1)) == 0) & judged & ~outside
        if int(edge.sum()) < 6:
            continue
        now, then = float(np.median(steps[edge])), float(np.median(before[edge]))
        if now > SHARPER * then and now - then > LEAST_STEP and entered:
            found |= part
        elif then > SHARPER * now:
            wrong |= part
    return found, wrong


def steps_of(colour: FloatArray, widest: FloatArray) -> FloatArray:
    """By how many of the widest spreads the colour changes within two texels, at most nearby (SIDE, SIDE)."""
    scaled = colour / widest
    dx, dy = (cv2.Sobel(scaled, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    step = np.sqrt((dx * dx + dy * dy).sum(axis=2))
    return np.asarray(cv2.dilate(step, _disc(3)), np.float32)


def _learn(
    known: Remembered,
    residual: FloatArray,
    visible: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
    wrong: NDArray[np.bool_],
) -> None:
    """Takes the frame, in the remembered light, into the memory where nothing hides the face."""
    room = cv2.dilate(hidden.astype(np.uint8), _disc(3)) > 0  # the object's soft border is no face either
    free = visible & ~room
    rate = np.where(free, np.maximum(1.0 / (known.seen + 1.0), SLOWEST), 0.0).astype(np.float32)
    rate[wrong] = FORGETTING
    known.colour += rate[:, :, np.newaxis] * residual
    now = np.abs(residual[:, :, 0]) / LEAST_SPREAD[0]
    known.spread += np.minimum(rate, SLOWEST) * (np.clip(1.5 * now, 1.0, 3.0) - known.spread)
    known.seen = np.minimum(known.seen + free, 1.0 / SLOWEST).astype(np.float32)
    known.hidden = hidden


def _head(visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The visible face without its holes, such as beside the nose."""
    padded = np.pad(visible.astype(np.uint8), 8)
    return np.asarray(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(6))[8:-8, 8:-8] > 0)


@lru_cache(maxsize=1)
def moving_zones() -> FloatArray:
    """Eyes and mouth with the room in which they move (SIDE, SIDE)."""
    fixed = chart()
    zones: FloatArray = np.maximum(cv2.dilate(fixed.eyes, _disc(2)), cv2.dilate(fixed.lips, _disc(3)))
    return zones


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
