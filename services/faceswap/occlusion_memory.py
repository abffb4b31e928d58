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
import numba
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
SLIP: Final = 1.0  # texels by which the mesh may err: where the face has edges, so much of them is no surprise
CLEARLY, ALIKE, STILL = 4.0, 2.5, 2.0  # spreads: seeds, what is counted with them, and where it was hidden before
LEAST_AREA: Final = 0.01  # of the face's visible texels
LEAST_STEP: Final = 0.8  # by so many widest spreads a border must have grown or faded to be new, or to have vanished
MORE: Final = 1.5  # times as much of its border must be new as has vanished
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
        found, wrong = _components(residual, distance, judged, visible, known, steps, widest)
        if found.sum() > CHANGED * visible.sum():
            del memory.values[KEY]
            return suspect
    hidden = found | suspect
    _learn(known, residual, visible, hidden, wrong)
    return hidden


def _distance(residual: FloatArray, known: Remembered) -> FloatArray:
    """The difference from the memory in spreads; more is allowed where the face has edges."""
    dx, dy = (cv2.Sobel(known.colour[:, :, 0], cv2.CV_32F, *order, ksize=1, scale=0.5) for order in ((1, 0), (0, 1)))
    edges = cv2.dilate(cv2.magnitude(dx, dy), _disc(1))
    allowed = known.spread + (SLIP / LEAST_SPREAD[0]) * edges
    distance = np.empty((SIDE, SIDE), np.float32)
    _scaled(np.asarray(cv2.blur(residual, (3, 3)), np.float32), allowed, distance)
    return distance


def warm_occlusion_memory() -> None:
    """Compiles what numba compiles."""
    _scaled(np.zeros((2, 2, 3), np.float32), np.ones((2, 2), np.float32), np.empty((2, 2), np.float32))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _scaled(residual: FloatArray, allowed: FloatArray, out: FloatArray) -> None:
    """How long differences (h, w, 3) are in spreads, over what is allowed (h, w)."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            a = residual[y, x, 0] / LEAST_SPREAD[0]
            p, q = residual[y, x, 1] / LEAST_SPREAD[1], residual[y, x, 2] / LEAST_SPREAD[2]
            out[y, x] = np.sqrt(a * a + p * p + q * q) / allowed[y, x]


def _components(
    residual: FloatArray,
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
    count, labels, stats, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8), connectivity=4)
    least = LEAST_AREA * float(visible.sum())
    outside = cv2.dilate((~whole_head(visible)).astype(np.uint8), _disc(3), borderValue=1).astype(np.bool_)
    change = steps - steps_of(known.colour, widest)
    like_other_half = _mirror_gain(residual, known)
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
        gained, lost = float((change[edge] > LEAST_STEP).mean()), float((change[edge] < -LEAST_STEP).mean())
        if like_other_half[part].mean() < 0.0 and lost > gained:
            wrong |= part
        elif entered and (gained > MORE * lost or (part & known.hidden).sum() > 0.5 * part.sum()):
            found |= part
    return found, wrong


def _mirror_gain(residual: FloatArray, known: Remembered) -> FloatArray:
    """How much less than the memory the frame is like the remembered other half of the face (SIDE, SIDE)."""
    to_other = known.colour[:, chart().mirror_x] - known.colour
    both = (known.seen > 0.5) & (known.seen[:, chart().mirror_x] > 0.5)
    frame, remembered = np.abs((residual - to_other) / LEAST_SPREAD), np.abs(to_other / LEAST_SPREAD)
    gain: FloatArray = (frame - remembered).sum(axis=2) * both
    return gain


def steps_of(colour: FloatArray, widest: FloatArray) -> FloatArray:
    """By how many of the widest spreads the colour changes within two texels, at most nearby (SIDE, SIDE)."""
    step = np.zeros((SIDE, SIDE), np.float32)
    _steps(colour, widest, step)
    return np.asarray(cv2.dilate(step, _disc(3)), np.float32)


@numba.njit(cache=True, nogil=True)
def _steps(colour: FloatArray, widest: FloatArray, out: FloatArray) -> None:
    for y in range(1, colour.shape[0] - 1):
        for x in range(1, colour.shape[1] - 1):
            total = np.float32(0.0)
            for c in range(3):
                dx = (colour[y, x + 1, c] - colour[y, x - 1, c]) / widest[c]
                dy = (colour[y + 1, x, c] - colour[y - 1, x, c]) / widest[c]
                total += dx * dx + dy * dy
            out[y, x] = np.sqrt(total)


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


def whole_head(visible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The visible face without its holes, such as beside the nose."""
    padded = cv2.copyMakeBorder(visible.view(np.uint8), 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(6))[8:-8, 8:-8]
    return np.ascontiguousarray(closed).view(np.bool_)


@lru_cache(maxsize=1)
def moving_zones() -> FloatArray:
    """Eyes and mouth with the room in which they move (SIDE, SIDE)."""
    fixed = chart()
    zones: FloatArray = np.maximum(cv2.dilate(fixed.eyes, _disc(2)), cv2.dilate(fixed.lips, _disc(3)))
    return zones


@lru_cache(maxsize=8)
def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)
