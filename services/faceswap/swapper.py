"""Two pictures -> one: which faces, the engine for each, and how far the result is from source and target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from services.common.errors import LikenessError
from services.common.models import Registry
from services.faceswap.detector import Picture
from services.faceswap.engine import paint
from services.faceswap.face_engine import Painted
from services.faceswap.finder import Face, FaceFinder
from services.faceswap.litert import FloatArray
from services.faceswap.recogniser import FaceRecogniser, distance
from services.faceswap.warp import warm
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
        measure: whether the recogniser judges the result; it takes longer than the swap.

    Raises:
        LikenessError: INVALID_FIELD for a number out of range.
    """

    selection: Selection = "largest"
    shape_strength: float = 1.0
    feather: float = 0.08
    measure: bool = True

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
        face: as it was in the target.
        painted: what the engine made of it.
        distance_to_source, distance_to_target: of the result's face, by the recogniser; below 0.6 is the same person,
            -1 where it was not measured.
    """

    face: Face
    painted: Painted
    distance_to_source: float = -1.0
    distance_to_target: float = -1.0


@dataclass(frozen=True, eq=False)
class Swap:
    """The result: BGR picture (H, W, 3), and what was replaced in it."""

    picture: Picture
    faces: tuple[SwappedFace, ...]


class FaceSwapper:
    """The stage without its server. One instance serves any number of threads.

    Pictures are uint8: BGR (H, W, 3), or grey (H, W), which counts as BGR of equal channels.
    """

    def __init__(self, finder: FaceFinder, recogniser: FaceRecogniser) -> None:
        self._finder = finder
        self._recogniser = recogniser

    @classmethod
    def load(cls, registry: Registry, *, threads: int = 1) -> FaceSwapper:
        """Raises LikenessError MODEL_INVALID when a model file is missing or was changed."""
        return cls(load_finder(registry, threads=threads), load_recogniser(registry))

    def warm_up(self) -> None:
        """Runs the detector once and compiles what numba compiles."""
        self._finder.find(np.zeros((256, 256, 3), np.uint8))
        warm()

    def find(self, picture: Picture) -> list[Face]:
        """All faces, largest first."""
        return self._finder.find(_as_bgr(picture))

    def descriptor(self, picture: Picture, face: Face) -> FloatArray:
        """The recogniser's numbers (128,) of a face of the picture."""
        return self._recogniser.descriptor(_as_bgr(picture), face.mesh)

    def swap(self, source: Picture, target: Picture, options: SwapOptions | None = None) -> Swap:
        """Puts the source's largest face onto the target's largest face, or onto all that are large enough.

        Raises:
            LikenessError: FACE_NOT_FOUND or FACE_TOO_SMALL; its field says in which picture.
        """
        options = options or SwapOptions()
        source, target = _as_bgr(source), _as_bgr(target)
        source_face = self._faces(source, "source", "largest")[0]
        return self.replace(source, source_face, target, self._faces(target, "target", options.selection), options)

    def replace(
        self, source: Picture, source_face: Face, target: Picture, target_faces: list[Face], options: SwapOptions
    ) -> Swap:
        """The same for faces that were found before. Every pixel outside of what changed equals the target's."""
        source, target = _as_bgr(source), _as_bgr(target)
        result = target.copy()
        swapped = []
        for face in target_faces:
            painted = paint(
                source,
                source_face.mesh.points,
                result,
                face.mesh.points,
                shape_strength=options.shape_strength,
                feather=options.feather,
            )
            part = result[painted.region.rows, painted.region.columns]
            part[painted.changed] = painted.pixels[painted.changed]
            swapped.append(SwappedFace(face, painted))
        if options.measure:
            wanted = self.descriptor(source, source_face)
            swapped = [self._measured(face, wanted, target, result) for face in swapped]
        return Swap(result, tuple(swapped))

    def locate_again(self, picture: Picture, face: Face) -> Face:
        """A face of another version of its picture, such as the result of a swap."""
        return self._finder.locate(_as_bgr(picture), face.detection)

    def _measured(self, swapped: SwappedFace, wanted: FloatArray, target: Picture, result: Picture) -> SwappedFace:
        found = self.descriptor(result, self.locate_again(result, swapped.face))
        return replace(
            swapped,
            distance_to_source=distance(found, wanted),
            distance_to_target=distance(found, self.descriptor(target, swapped.face)),
        )

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
        large_enough = [face for face in faces if face.size_px >= MIN_FACE_PX]
        if not large_enough:
            detail = (
                f"The largest face in the {field} picture measures {faces[0].size_px:.0f} pixels; "
                f"at least {MIN_FACE_PX:.0f} are needed."
            )
            raise LikenessError("FACE_TOO_SMALL", detail, field=field)
        return large_enough


def _as_bgr(picture: Picture) -> Picture:
    if picture.dtype == np.uint8 and picture.ndim == 2:
        return np.repeat(picture[:, :, np.newaxis], 3, axis=2)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"expected uint8 pixels of shape (H, W, 3) or (H, W), got {picture.dtype} {picture.shape}")
    return np.ascontiguousarray(picture)
