"""Which way up a film's pictures are: phones write them as the sensor lies and say how to turn them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

_TURNS: Final = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class Orientation:
    """What brings a decoded picture upright: first a turn by so many quarters clockwise, then a mirror image."""

    quarter_turns: int = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        return self.quarter_turns % 2 == 1

    def size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Of the upright picture."""
        return (height_px, width_px) if self.swaps_sides else (width_px, height_px)

    def apply(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A plane (H, W) of the decoded picture, upright."""
        turned: Any = plane if self.quarter_turns == 0 else cv2.rotate(plane, _TURNS[self.quarter_turns])
        return np.asarray(cv2.flip(turned, 1) if self.mirrored else turned, np.uint8)


UPRIGHT: Final = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """From the display matrix beside a decoded picture (ISO 14496-12, 8.3.2); the nearest quarter turn."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return UPRIGHT
    # A point (x, y) goes to (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(float)
    mirrored = bool(a * d - b * c < 0)
    if mirrored:
        a, c = -a, -c  # the turn that is left once the mirror image is taken back
    angle_deg = np.degrees(np.arctan2(b, a)) if a or b else 0.0
    return Orientation(int(round(angle_deg / 90.0)) % 4, mirrored)
