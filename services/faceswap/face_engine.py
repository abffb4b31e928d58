"""What every engine that puts a face onto a face has in common: prepare a person once, paint any number of faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from services.common.errors import LikenessError
from services.faceswap.detector import Picture
from services.faceswap.geometry import Points
from services.faceswap.litert import FloatArray
from services.faceswap.warp import Region

FaceRegion = Literal["skin", "brows", "eyes", "nose", "mouth"]
FACE_REGIONS: Final[tuple[FaceRegion, ...]] = ("skin", "brows", "eyes", "nose", "mouth")


@dataclass(frozen=True, eq=False)
class View:
    """One picture of a person: BGR (H, W, 3), and the mesh (468, 3) of the person's face in its pixels."""

    picture: Picture
    points: Points


@dataclass(frozen=True)
class Look:
    """How a face is put on.

    Attributes:
        shape_strength: share of the source's face shape carried over, 0 to 1.
        feather: width of the blend's border as a share of the face's width, 0.01 to 0.5.
        regions: parts of the face that are replaced.
        keep_occluders: whether what lies before the target's face (hands, hair, things) stays before it.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range, or no region.
    """

    shape_strength: float = 1.0
    feather: float = 0.08
    regions: frozenset[FaceRegion] = frozenset(FACE_REGIONS)
    keep_occluders: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("shape_strength", 0.0, 1.0), ("feather", 0.01, 0.5)):
            value = getattr(self, name)
            if not low <= value <= high:  # also refuses NaN
                detail = f"{name} must lie between {low:g} and {high:g}, got {value:g}."
                raise LikenessError("INVALID_FIELD", detail, field=f"options.{name}")
        if not self.regions:
            raise LikenessError("INVALID_FIELD", "Name at least one region of the face.", field="options.regions")


@dataclass(eq=False)
class Memory:
    """What an engine remembers of one face of a film from frame to frame, so that nothing flickers.

    One per track and person.

    Made empty, filled by the engine alone. A picture has none.
    """

    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Painted:
    """A swapped face: new pixels (h, w, 3) of `region`.

    `changed` (h, w) tells which may differ from the target's; `alpha` (h, w) is the source's share, 0 to 1.
    """

    region: Region
    pixels: Picture
    changed: NDArray[np.bool_]
    alpha: FloatArray


class FaceEngine(Protocol):
    """Puts a prepared person's face onto faces. Safe to call from several threads at once."""

    name: str

    def prepare(self, views: Sequence[View]) -> Any:
        """All that the engine needs of a person, from one or more pictures; opaque to everybody else, never changed."""
        ...

    def paint(self, person: Any, target: Picture, points: Points, look: Look, memory: Memory | None = None) -> Painted:
        """Puts the person's face onto the face with mesh `points` (468, 3) in the BGR picture `target` (H, W, 3)."""
        ...
