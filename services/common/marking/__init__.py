"""Imperceptible marks: a keyed 32-bit number in sound, pictures and films, found again after all usual treatment."""

from services.common.marking.film import film_carries, find_film_mark
from services.common.marking.found import MarkFound
from services.common.marking.frame_marker import FrameMarker
from services.common.marking.picture import find_picture_mark, mark_picture, picture_carries

__all__ = [
    "FrameMarker",
    "MarkFound",
    "film_carries",
    "find_film_mark",
    "find_picture_mark",
    "mark_picture",
    "picture_carries",
]
