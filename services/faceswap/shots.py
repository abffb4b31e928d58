"""Where one shot ends and the next begins.

Two frames belong to one shot when their thumbnails are alike after their brightness and contrast are made equal, so
that a flash or a fade is no cut. A frame without any structure (white, black) says nothing; the next one that has some
is compared with the last one that had.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX: Final = (48, 27)  # width, height
MIN_LIKENESS: Final = 0.55  # correlation of two thumbnails below which there is a cut
MIN_DROP: Final = 0.2  # by how much it must also lie below that of the frames before: fast camera moves are unlike, too
MIN_STRUCTURE: Final = 4.0  # standard deviation of brightness below which a thumbnail says nothing
MEMORY: Final = 0.7  # of the mean likeness of the frames before
_BLUR: Final = (3, 3)


class CutDetector:
    """Looks at the frames of a film in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._usual = 1.0

    def is_cut(self, luma: NDArray[np.uint8]) -> bool:
        """Whether a shot begins with the frame of that brightness (h, w). The very first frame begins one, too."""
        thumbnail = _thumbnail(luma)
        if thumbnail is None:
            if self._last is not None:
                return False
            self._last = None
            return True
        last, self._last = self._last, thumbnail
        if last is None:
            return True
        likeness = float((last * thumbnail).mean())
        cut = likeness < MIN_LIKENESS and likeness < self._usual - MIN_DROP
        self._usual = 1.0 if cut else MEMORY * self._usual + (1.0 - MEMORY) * likeness
        return cut


def thumbnail_step(height_px: int, width_px: int) -> int:
    """Of how many rows and columns of a frame one is enough."""
    return max(1, min(height_px // (4 * THUMBNAIL_PX[1]), width_px // (4 * THUMBNAIL_PX[0])))


def _thumbnail(luma: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Small, of mean 0 and deviation 1; None without structure."""
    step = thumbnail_step(*luma.shape)
    small = cv2.resize(np.ascontiguousarray(luma[::step, ::step]), THUMBNAIL_PX, interpolation=cv2.INTER_AREA)
    values = cv2.GaussianBlur(small.astype(np.float32), _BLUR, 0)
    (mean,), (deviation,) = (part.ravel() for part in cv2.meanStdDev(values))
    if deviation < MIN_STRUCTURE:
        return None
    return np.asarray((values - np.float32(mean)) / np.float32(deviation), np.float32)
