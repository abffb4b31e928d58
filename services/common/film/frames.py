"""Pictures of a film as the swap works on them: upright, 8 bits, planar 4:2:0, with even sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from services.common.film.orientation import Orientation
from services.common.film.probe import Colour, FilmInfo

Plane = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class FilmFrame:
    """One picture.

    Attributes:
        pts: its time stamp in the film's time base.
        luma: (H, W), `blue` and `red` (H / 2, W / 2): its planes, which may be written to.
        colour: how they are to be understood.
        picture: FFmpeg's frame that holds them.
    """

    pts: int
    luma: Plane
    blue: Plane
    red: Plane
    colour: Colour
    picture: Any


def blank_frame(width_px: int, height_px: int, pts: int, colour: Colour) -> FilmFrame:
    """A picture whose planes are yet to be filled; both sides even."""
    picture = av.VideoFrame(width_px, height_px, "yuv420p")
    picture.color_range = 2 if colour.full_range else 1
    picture.pts = pts
    luma, blue, red = (_view(plane) for plane in picture.planes)
    return FilmFrame(pts, luma, blue, red, colour, picture)


def film_frame(decoded: Any, info: FilmInfo, size: tuple[int, int]) -> FilmFrame:
    """A decoded picture made upright, of `size` (width, height; see `FilmInfo.output_size`).

    More than 8 bits are rounded, finer colour sampling is reduced, transparency is laid over white.
    """
    orientation = info.orientation
    kept = size == info.output_size() and (decoded.width, decoded.height) == orientation.size(
        info.width_px, info.height_px
    )
    stored = None if kept else orientation.size(*size)
    planar = _planar(decoded, info.colour, stored)
    frame = blank_frame(*size, int(decoded.pts), info.colour)
    for source, target in zip(planar.planes, (frame.luma, frame.blue, frame.red), strict=True):
        _fill(target, orientation, _view(source))
    return frame


def _fill(target: Plane, orientation: Orientation, plane: Plane) -> None:
    """Copies upright; one line that is missing at the right or the bottom repeats the last."""
    upright = orientation.apply(plane)
    height, width = upright.shape
    target[:height, :width] = upright
    if width < target.shape[1]:
        target[:height, width:] = upright[:, -1:]
    if height < target.shape[0]:
        target[height:] = target[height - 1]


def _view(plane: Any) -> Plane:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _planar(decoded: Any, colour: Colour, size: tuple[int, int] | None) -> Any:
    """The same picture as 8-bit 4:2:0, its range kept."""
    if decoded.format.name in ("yuv420p", "yuvj420p") and size is None:
        return decoded
    width, height = size or (decoded.width, decoded.height)
    if any(component.is_alpha for component in decoded.format.components):
        decoded = _over_white(decoded)
    if decoded.format.is_rgb or decoded.format.name == "pal8":
        matrix = 1 if colour.matrix == 1 else 5  # swscale's names of BT.709 and BT.601
        return decoded.reformat(
            width, height, "yuv420p", dst_colorspace=matrix, dst_color_range=2 if colour.full_range else 1
        )
    level = 2 if colour.full_range else 1
    return decoded.reformat(
        width,
        height,
        "yuvj420p" if colour.full_range else "yuv420p",
        interpolation="AREA" if width < decoded.width else "BICUBIC",
        src_color_range=level,
        dst_color_range=level,
    )


def _over_white(decoded: Any) -> Any:
    rgba = decoded.to_ndarray(format="rgba").astype(np.uint16)
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    flat = (colour * alpha + 255 * (255 - alpha) + 127) // 255
    result = av.VideoFrame.from_ndarray(flat.astype(np.uint8), format="rgb24")
    result.pts = decoded.pts
    return result
