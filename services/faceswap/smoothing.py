"""Takes the trembling out of a followed face without making it lag.

One Euro filters (Casiez, Roussel, Vogel 2012, https://doi.org/10.1145/2207676.2208639) pass the more the faster
something moves. A mesh is parted into where the head is, how large, how turned, and its shape in the head's own frame.
Each part is filtered at its own speed: so a nodding head does not open the filter for the lips, nor a blink that for
the chin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from services.faceswap.geometry import Points, Similarity
from services.faceswap.litert import FloatArray
from services.faceswap.shape import head_pose

MAX_GAP_S: Final = 0.4  # after a longer pause the filter begins anew
DERIVATIVE_HZ: Final = 1.0


@dataclass(frozen=True)
class Euro:
    """A One Euro filter's settings: `cutoff_hz` at rest, and by how many Hz it opens per unit of speed."""

    cutoff_hz: float
    slope: float


# Units per second: face sizes, logarithm of size, radians, distances between the outer eye corners.
PLACE: Final = Euro(1.5, 30.0)
SIZE: Final = Euro(1.0, 20.0)
TURN: Final = Euro(1.5, 15.0)
SHAPE: Final = Euro(1.0, 15.0)


def _share(cutoff_hz: Points | float, step_s: float) -> Points | float:
    """How much of a new value a low-pass filter of first order takes over."""
    return 1.0 / (1.0 + 1.0 / (2.0 * math.pi * cutoff_hz * step_s))


class OneEuro:
    """Filters rows of values (n, d); each row opens its own filter by its own speed."""

    def __init__(self, settings: Euro) -> None:
        self._settings = settings
        self._value: Points | None = None
        self._raw: Points | None = None
        self._speed: Points | None = None

    def filter(self, value: Points, step_s: float, unit: float = 1.0) -> Points:
        """The smoothed value; `unit` is what a speed of 1 means in the values' own unit."""
        if self._value is None or self._raw is None or self._speed is None:
            self._value, self._raw, self._speed = value, value, np.zeros_like(value)
            return value
        speed = (value - self._raw) / step_s
        self._speed = self._speed + _share(DERIVATIVE_HZ, step_s) * (speed - self._speed)
        pace = np.linalg.norm(self._speed, axis=1, keepdims=True) / unit
        cutoff_hz = self._settings.cutoff_hz + self._settings.slope * pace
        self._value = self._value + _share(cutoff_hz, step_s) * (value - self._value)
        self._raw = value
        return self._value


class _Turn:
    """The same for a rotation (3, 3), along the shortest way."""

    def __init__(self, settings: Euro) -> None:
        self._settings = settings
        self._value: Points | None = None
        self._raw: Points | None = None
        self._speed = np.zeros(3)

    def filter(self, value: Points, step_s: float) -> Points:
        if self._value is None or self._raw is None:
            self._value = self._raw = value
            return value
        speed = _rotation_vector(value @ self._raw.T) / step_s
        self._speed = self._speed + _share(DERIVATIVE_HZ, step_s) * (speed - self._speed)
        share = _share(self._settings.cutoff_hz + self._settings.slope * float(np.linalg.norm(self._speed)), step_s)
        way = _rotation_vector(value @ self._value.T)
        self._value = np.asarray(cv2.Rodrigues(share * way)[0]) @ self._value
        self._raw = value
        return self._value


def _rotation_vector(rotation: Points) -> Points:
    return np.asarray(cv2.Rodrigues(np.asarray(rotation, np.float64))[0], np.float64).reshape(3)


class MeshSmoother:
    """Smooths the mesh of one followed face, frame by frame."""

    def __init__(self) -> None:
        self._time_s: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._place, self._size, self._turn, self._shape = OneEuro(PLACE), OneEuro(SIZE), _Turn(TURN), OneEuro(SHAPE)

    def smooth(self, points: FloatArray, time_s: float) -> FloatArray:
        """The smoothed mesh (468, 3) in the same pixels; `time_s` ascends."""
        step_s = math.inf if self._time_s is None else time_s - self._time_s
        self._time_s = time_s
        if not 0.0 < step_s <= MAX_GAP_S:
            self._reset()
            step_s = 1.0  # of no effect on a first value
        pose = head_pose(points)  # pixels -> head
        head = pose.apply(points)
        back = pose.inverse()
        face_px = back.scale / 0.6  # outer eye corners are about 0.6 of a face apart
        place = self._place.filter(back.shift[np.newaxis], step_s, face_px)[0]
        size = math.exp(self._size.filter(np.array([[math.log(back.scale)]]), step_s)[0, 0])
        turn = self._turn.filter(back.rotation, step_s)
        shape = self._shape.filter(head, step_s)
        return Similarity(size, turn, place).apply(shape).astype(np.float32)
