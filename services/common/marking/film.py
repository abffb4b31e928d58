"""Films: the number that all their frames carry, found by adding up what some of the frames show.

Key frames come first: they are coded from what they show themselves. The others are coded from their neighbours, and
where the camera moves, what they keep of the mark moves with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.common.film import FilmInfo, probe_film, read_frames
from services.common.marking.found import MarkFound
from services.common.marking.known import carries
from services.common.marking.search import MarkSearch
from services.common.marking.seen import SeenPicture, evened, see
from services.common.marking.spectrum import mark_spectrum

Plane = NDArray[np.uint8]
KEY_FRAMES: Final = 16
FRAMES: Final = 36
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
    for seen in seen_of_film(path, field):
        found = MarkSearch(seen).find(spectrum)
        if found is not None:
            return found
    return None


def film_carries(path: Path, key: bytes, number: int, *, field: str = "film") -> bool:
    """Whether a film carries that very number and has kept its size since; as `picture_carries`.

    Raises:
        ValueError: for another key or number.
        LikenessError: MEDIA_* for a file that cannot be read as a film, naming `field`.
    """
    spectrum = mark_spectrum(key)
    waves = spectrum.waves(number)
    return any(carries(seen, spectrum, waves, number) for seen in seen_of_film(path, field))


def seen_of_film(path: Path, field: str = "film") -> Iterator[SeenPicture]:
    """What key frames show together; then, for whom that is not enough, what frames of all kinds do."""
    info = probe_film(path, field=field)
    for lumas in (_key_frames(path, info, field), _frames(path, info, field)):
        total = see(next(lumas))  # a film has at least one frame
        for luma in lumas:
            total.residual[...] += see(luma).residual
        yield SeenPicture(evened(total.residual), total.shrink)


def _key_frames(path: Path, info: FilmInfo, field: str) -> Iterator[Plane]:
    """Luma of some key frames, from all over the film."""
    for pts in _spread(info.keyframe_pts, KEY_FRAMES):
        for frame in read_frames(path, info, pts, pts + 1, field=field):
            yield frame.luma


def _frames(path: Path, info: FilmInfo, field: str) -> Iterator[Plane]:
    """Luma of about so many frames, from all over the film."""
    if info.frame_count <= SHORT_FRAMES:
        stride = max(1, info.frame_count // FRAMES)
        for number, frame in enumerate(read_frames(path, info, field=field)):
            if number % stride == 0:
                yield frame.luma
        return
    each = max(1, FRAMES // STRETCHES)
    for pts in _spread(info.keyframe_pts, STRETCHES):
        first = int(np.searchsorted(info.frame_pts, pts))
        last = min(first + (each - 1) * STRIDE, info.frame_count - 1)
        for number, frame in enumerate(read_frames(path, info, pts, int(info.frame_pts[last]) + 1, field=field)):
            if number % STRIDE == 0:
                yield frame.luma


def _spread(pts: NDArray[np.int64], count: int) -> list[int]:
    """At most so many of them, at equal distances."""
    chosen = np.unique(np.linspace(0, len(pts) - 1, min(count, len(pts))).round().astype(int))
    return [int(pts[place]) for place in chosen]
