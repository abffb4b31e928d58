"""Animated WebP files, which FFmpeg does not read; OpenCV does, all pictures at once."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np

from services.common.errors import LikenessError
from services.common.film.frames import FilmFrame, film_frame
from services.common.film.orientation import UPRIGHT
from services.common.film.probe import Colour, FilmInfo, IntArray, check_size

MAX_ANIMATION_PIXELS: Final = 100_000_000  # of all pictures together; four bytes each
DEFAULT_DURATION_MS: Final = 100  # of a picture that names none
_SHORTEST_MS: Final = 1


def probe_webp(path: Path, field: str) -> FilmInfo:
    """Reads sizes and times from the file's chunks (RFC 9649, 2.7)."""
    data = path.read_bytes()
    width_px, height_px, durations_ms = _chunks(data, field)
    check_size(width_px, height_px, field)
    if len(durations_ms) * width_px * height_px > MAX_ANIMATION_PIXELS:
        detail = (
            f"The animation has {len(durations_ms)} pictures of {width_px} x {height_px} pixels; at most "
            f"{MAX_ANIMATION_PIXELS // 10**6} million pixels in all are accepted. Make it smaller, or send it as MP4."
        )
        raise LikenessError("MEDIA_TOO_LARGE", detail, field=field)
    ends = np.cumsum(np.array(durations_ms, np.int64))
    hd = height_px >= 720
    mean_s = Fraction(int(ends[-1]), 1000 * len(durations_ms))
    return FilmInfo(
        container="webp",
        codec="webp",
        pixel_format="bgra",
        width_px=width_px,
        height_px=height_px,
        orientation=UPRIGHT,
        frame_rate=(1 / mean_s).limit_denominator(1001),
        time_base=Fraction(1, 1000),
        frame_pts=np.concatenate([[0], ends[:-1]]).astype(np.int64),
        keyframe_pts=np.zeros(1, np.int64),
        end_pts=int(ends[-1]),
        pixel_aspect=Fraction(1),
        colour=Colour(1, 1, 1) if hd else Colour(6, 6, 6),
        audio=(),
    )


def _chunks(data: bytes, field: str) -> tuple[int, int, list[int]]:
    """Width, height, and how long each picture is shown, in milliseconds."""
    position, size, durations_ms = 12, None, []
    while position + 8 <= len(data):
        name, length = data[position : position + 4], struct.unpack_from("<I", data, position + 4)[0]
        body = data[position + 8 : position + 8 + min(length, 24)]
        if name == b"VP8X" and len(body) >= 10:
            size = (_uint24(body, 4) + 1, _uint24(body, 7) + 1)
        elif name == b"ANMF" and len(body) >= 16:
            durations_ms.append(max(_SHORTEST_MS, _uint24(body, 12) or DEFAULT_DURATION_MS))
        position += 8 + length + length % 2
    if size is None or not durations_ms:
        detail = "The WebP file is one still picture; send it as a picture, or an animated one as a film."
        raise LikenessError("MEDIA_UNSUPPORTED", detail, field=field)
    return *size, durations_ms


def _uint24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def read_webp(path: Path, info: FilmInfo, expected: IntArray, size: tuple[int, int], field: str) -> Iterator[FilmFrame]:
    """Yields the pictures whose time stamps are `expected`."""
    data = np.fromfile(path, np.uint8)
    try:
        done, animation = cv2.imdecodeanimation(data)
    except cv2.error:
        done = False
    if not done or len(animation.frames) != info.frame_count:
        raise LikenessError("MEDIA_UNREADABLE", "The WebP file is damaged and cannot be decoded.", field=field)
    wanted = set(expected.tolist())
    for pts, pixels in zip(info.frame_pts.tolist(), animation.frames, strict=True):
        if pts in wanted:
            bgra = pixels if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)
            decoded = av.VideoFrame.from_ndarray(np.ascontiguousarray(bgra, np.uint8), format="bgra")
            decoded.pts = pts
            yield film_frame(decoded, info, size)
