"""Films: the number that all their frames carry, found by adding up what some of the frames show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.film import FilmInfo, probe_film, read_frames
from services.common.marking.found import MarkFound
from services.common.marking.known import AGREEMENT, agreement
from services.common.marking.search import MarkSearch
from services.common.marking.seen import SeenPicture, evened, see
from services.common.marking.spectrum import mark_spectrum

Plane = NDArray[np.uint8]
SEARCHED_FRAMES: Final = 48
CHECKED_FRAMES: Final = 24
SHORT_FRAMES: Final = 360  # up to here a film is decoded throughout
STRETCHES: Final = 12  # else at so many places
STRIDE: Final = 6  # of the frames there


def find_film_mark(path: Path, key: bytes, *, field: str = "film") -> MarkFound | None:
    """The mark of a film, which may have been cut, scaled and coded anew; None when none is found.

    Raises:
        ValueError: for a key that is not 32 bytes long.
        LikenessError: MEDIA_* for a file that cannot be read as a film, naming `field`.
    """
    spectrum = mark_spectrum(key)
    return MarkSearch(_added_up(path, SEARCHED_FRAMES, field)).find(spectrum)


def film_carries(path: Path, key: bytes, number: int, *, field: str = "film") -> bool:
    """Whether a film carries that very number and has kept its size since; as `picture_carries`.

    Raises:
        ValueError: for another key or number.
        LikenessError: MEDIA_* for a file that cannot be read as a film, naming `field`.
    """
    spectrum = mark_spectrum(key)
    waves = spectrum.waves(number)
    return agreement(_added_up(path, CHECKED_FRAMES, field), spectrum, waves) >= AGREEMENT


def _added_up(path: Path, frames: int, field: str) -> SeenPicture:
    """What sampled frames show together."""
    info = probe_film(path, field=field)
    lumas = _sampled(path, info, frames, field)
    total = see(next(lumas))  # a film has at least one frame
    for luma in lumas:
        total.residual[...] += see(luma).residual
    return SeenPicture(evened(total.residual), total.shrink)


def _sampled(path: Path, info: FilmInfo, frames: int, field: str) -> Iterator[Plane]:
    """Luma of about so many frames, from all over the film."""
    if info.frame_count <= SHORT_FRAMES:
        stride = max(1, info.frame_count // frames)
        for number, frame in enumerate(read_frames(path, info, field=field)):
            if number % stride == 0:
                yield frame.luma
        return
    each = max(1, frames // STRETCHES)
    for place in np.linspace(0, len(info.keyframe_pts) - 1, STRETCHES).astype(int):
        first = int(np.searchsorted(info.frame_pts, info.keyframe_pts[place]))
        last = min(first + (each - 1) * STRIDE, info.frame_count - 1)
        span = read_frames(path, info, int(info.frame_pts[first]), int(info.frame_pts[last]) + 1, field=field)
        for number, frame in enumerate(span):
            if number % STRIDE == 0:
                yield frame.luma
