"""The pictures of the demonstration, read from installed packages, so that none lies in the repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from services.common.decode import decode_picture
from services.common.models import package_file


@dataclass(frozen=True)
class DemoPicture:
    """A picture in a package, or a part of one, and what is known about where it comes from."""

    name: str
    package: str
    file: str
    origin: str
    part: tuple[int, int, int, int] | None = None  # left, top, width, height in pixels

    @property
    def path(self) -> Path:
        """Raises LikenessError when the package is not installed."""
        return package_file(self.package, self.file)

    def pixels(self) -> NDArray[np.uint8]:
        """BGR, shape (height, width, 3)."""
        picture = decode_picture(self.path.read_bytes())
        if self.part is None:
            return picture
        left, top, width, height = self.part
        return picture[top : top + height, left : left + width]

    def content(self) -> bytes:
        """The file as it is, or the part as PNG."""
        if self.part is None:
            return self.path.read_bytes()
        return cv2.imencode(".png", self.pixels())[1].tobytes()


ASTRONAUT: Final = DemoPicture(
    name="astronaut",
    package="skimage",
    file="data/astronaut.png",
    origin="NASA photograph in the public domain, distributed as a test picture by scikit-image",
)
GROUP: Final = DemoPicture(
    name="group of six",
    package="insightface",
    file="data/images/t1.jpg",
    origin="test picture distributed by insightface",
)
GUEST: Final = DemoPicture(
    name="one face of the group",
    package=GROUP.package,
    file=GROUP.file,
    origin=GROUP.origin,
    part=(369, 196, 299, 299),
)


def side_by_side(pictures: list[NDArray[np.uint8]], height_px: int = 512, gap_px: int = 12) -> bytes:
    """A PNG of pictures at the same height, on white."""
    shown = []
    for picture in pictures:
        width_px = round(picture.shape[1] * height_px / picture.shape[0])
        shown.append(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_CUBIC))
        shown.append(np.full((height_px, gap_px, 3), 255, np.uint8))
    return cv2.imencode(".png", np.hstack(shown[:-1]))[1].tobytes()
