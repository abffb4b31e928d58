"""A visible label: a line of text in the lower left corner of every picture, where the policy wants one."""

from __future__ import annotations

from typing import Final

import cv2

from services.faceswap.detector import Picture

HEIGHT_SHARE: Final = 1 / 24  # of the text, to the picture's shorter side
LEAST_PX: Final = 9.0
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX: Final = 22.0  # height of its capitals at scale 1
_AROUND: Final = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]
BLACK: Final = 16
WHITE: Final = 235


def draw_label(picture: Picture, text: str) -> None:
    """Writes ASCII text into BGR (H, W, 3) or luma (H, W), in place: light letters with a dark edge.

    It becomes as small as it must to fit into the width.
    """
    height, width = picture.shape[:2]
    letters_px = max(LEAST_PX, min(height, width) * HEIGHT_SHARE)
    margin = round(letters_px)
    scale = letters_px / _FONT_PX
    (text_px, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, max(1, width - 2 * margin) / text_px)
    edge_px = max(1, round(letters_px / 12))
    left, bottom = margin, height - margin
    for right_px, down_px in _AROUND:
        _write(picture, text, (left + right_px * edge_px, bottom + down_px * edge_px), scale, BLACK)
    _write(picture, text, (left, bottom), scale, WHITE)


def _write(picture: Picture, text: str, place: tuple[int, int], scale: float, level: int) -> None:
    cv2.putText(picture, text, place, _FONT, scale, (level, level, level), 1, cv2.LINE_AA)
