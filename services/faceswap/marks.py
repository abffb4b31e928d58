"""Which mark a request's pictures get: the number that its grant names, written with the installation's key."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.common.errors import LikenessError
from services.common.grants import granted_label, granted_mark
from services.common.keys import MARK, KeysError, load_secret
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import mark_picture
from services.common.settings import StageSettings
from services.faceswap.detector import Picture
from services.faceswap.label import draw_label

CHECK_EVERY_FRAMES: Final = 30  # of a live stream


class Marks:
    """Gives the requests of a stage their markers.

    Args:
        key: 32 bytes; None marks nothing, for a stage that wants no grants either.
    """

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    @classmethod
    def load(cls, settings: StageSettings) -> Marks:
        """With the key in the settings' folder. Raises LikenessError MARK_FAILED when it is not there."""
        if settings.grants == "off":
            return cls(None)
        try:
            return cls(load_secret(settings.resolved_keys_dir / MARK))
        except KeysError as error:
            detail = f"Pictures cannot be marked: {error}. Copy it from the gateway's keys_dir."
            raise LikenessError("MARK_FAILED", detail) from error

    def marker(self) -> FrameMarker | None:
        """For the frames of the request at hand; None only where grants are off.

        Raises:
            LikenessError: MARK_FAILED where grants are wanted and this one names no number.
        """
        if self._key is None:
            return None
        number = granted_mark()
        if number == 0:
            raise LikenessError("MARK_FAILED", "The call's grant names no number to mark the pictures with.")
        return FrameMarker(self._key, number)

    def mark(self, picture: Picture) -> Picture:
        """A marked copy of a picture in BGR (H, W, 3), or the picture itself where grants are off.

        Raises:
            LikenessError: as `marker`.
        """
        marker = self.marker()
        if marker is None:
            return picture
        if label := granted_label():
            picture = np.array(picture)
            draw_label(picture, label)
        marked = mark_picture(np.ascontiguousarray(picture[:, :, ::-1]), marker.key, marker.number)
        return np.ascontiguousarray(marked[:, :, ::-1])


class LiveMarks:
    """Labels and marks the frames of one live stream, and looks now and then whether the mark is there."""

    def __init__(self, marker: FrameMarker | None, label: str) -> None:
        self._marker = marker
        self._label = label
        self._marked = 0

    def mark(self, picture: Picture) -> None:
        """Marks a frame in BGR (H, W, 3), in place. Raises LikenessError MARK_FAILED when it then holds no mark."""
        if self._marker is None:
            return
        if self._label:
            draw_label(picture, self._label)
        self._marker.mark_bgr(picture)
        if self._marked % CHECK_EVERY_FRAMES == 0 and not self._marker.is_in_bgr(picture):
            detail = "The frame's mark cannot be found again, so the stream ends; frames may be too small or too dark."
            raise LikenessError("MARK_FAILED", detail)
        self._marked += 1
