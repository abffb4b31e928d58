"""Two pictures -> one: which faces, the engine for each, and how far the result is from source and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.detector import Picture
from services.faceswap.engine import paint
from services.faceswap.finder import Face, FaceFinder
from services.faceswap.litert import FloatArray
from services.faceswap.recogniser import FaceRecogniser, distance
from services.faceswap.weights import load_finder, load_recogniser

MIN_FACE_PX: Final = 24.0  # shorter side of the mesh's box; below, no texture is left to carry over
Selection = Literal["largest", "all"]


@dataclass(frozen=True)
class SwapOptions:
    """How faces are swapped.

    Attributes:
        selection: which faces of the target.
        shape_strength: share of the source's face shape carried over, 0 to 1.
        feather: width of the blend's border as a share of the face's width, 0.01 to 0.5.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range.
    """

    selection: Selection = "largest"
    shape_strength: float = 1.0
    feather: float = 0.12

    def __post_init__(self) -> None:
        for name, low, high in (("shape_strength", 0.0, 1.0), ("feather", 0.01, 0.5)):
            value = getattr(self, name)
            if not low <= value <= high:  # also refuses NaN
                detail = f"{name} must lie between {low:g} and {high:g}, got {value:g}."
                raise LikenessError("INVALID_FIELD", detail, field=f"options.{name}")


@dataclass(frozen=True, eq=False)
class SwappedFace:
    """One face of the target that was replaced.

    Attributes:
        distance_to_source, distance_to_target: of the result's face, by the recogniser; below 0.6 is the same person.
    """

    face: Face
    distance_to_source: float
    distance_to_target: float


@dataclass(frozen=True, eq=False)
class Swap:
    """The result: BGR picture (H, W, 3), and what was replaced in it."""

    picture: Picture
    faces: tuple[SwappedFace, ...]


class FaceSwapper:
    """The stage without its server. One instance serves any number of threads."""

    def __init__(self, finder: FaceFinder, recogniser: FaceRecogniser) -> None:
        self._finder = finder
        self._recogniser = recogniser

    @classmethod
    def load(cls, registry: Registry, *, threads: int = 1) -> FaceSwapper:
        """Raises LikenessError MODEL_INVALID when a model file is missing or was changed."""
        return cls(load_finder(registry, threads=threads), load_recogniser(registry))

    def warm_up(self) -> None:
        """Runs every network once, and compiles what numba compiles, on a picture without a face."""
        self._finder.find(np.zeros((256, 256, 3), np.uint8))

    def find(self, picture: Picture) -> list[Face]:
        """Faces of a BGR picture (H, W, 3), largest first."""
        return self._finder.find(picture)

    def descriptor(self, picture: Picture, face: Face) -> FloatArray:
        """The recogniser's numbers (128,) of a face of the picture."""
        return self._recogniser.descriptor(picture, face.mesh)

    def swap(self, source: Picture, target: Picture, options: SwapOptions | None = None) -> Swap:
        """Puts the source's largest face onto the target's largest face, or onto all that are large enough.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL; its field says in which picture.
        """
        options = options or SwapOptions()
        source_face = self._faces(source, "source", "largest")[0]
        target_faces = self._faces(target, "target", options.selection)
        result = target.copy()
        for face in target_faces:
            painted = paint(
                source,
                source_face.mesh.points,
                result,
                face.mesh.points,
                shape_strength=options.shape_strength,
                feather=options.feather,
            )
            region = painted.region
            part = result[region.rows, region.columns]
            part[painted.changed] = painted.pixels[painted.changed]
        source_descriptor = self.descriptor(source, source_face)
        swapped = tuple(
            SwappedFace(
                face,
                distance(descriptor := self.descriptor(result, face), source_descriptor),
                distance(descriptor, self.descriptor(target, face)),
            )
            for face in target_faces
        )
        return Swap(result, swapped)

    def _faces(self, picture: Picture, field: str, selection: Selection) -> list[Face]:
        """The faces meant, each large enough."""
        faces = self._finder.find(picture, only_largest=selection == "largest")
        if not faces:
            height, width = picture.shape[:2]
            detail = (
                f"No face was found in the {field} picture ({width} x {height} pixels); "
                "use one in which a face is seen well, from the front or half from the side."
            )
            raise LikenessError("FACE_NOT_FOUND", detail, field=field)
        large_enough = [face for face in faces if face.width_px >= MIN_FACE_PX]
        if not large_enough:
            detail = (
                f"The largest face in the {field} picture is {faces[0].width_px:.0f} pixels wide; "
                f"at least {MIN_FACE_PX:.0f} are needed."
            )
            raise LikenessError("FACE_TOO_SMALL", detail, field=field)
        return large_enough
