"""The pictures of the demonstration, read from installed packages, so that none lies in the repository."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.models import package_file


@dataclass(frozen=True)
class DemoPicture:
    """A picture in a package, and what is known about the right to use it."""

    name: str
    package: str
    file: str
    origin: str

    @property
    def path(self) -> Path:
        """Raises LikenessError when the package is not installed."""
        return package_file(self.package, self.file)


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
